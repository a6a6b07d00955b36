// Law: without a broker the shim is not there: opening a device node fails with ENOENT as on a machine
// without a GPU, everything else works, and nothing is written to standard error unless NVSHIM_LOG=1 asks for
// it, then one line. The program runs itself with NVSHIM_SOCKET pointing nowhere and reads what that run
// writes.
#include <string>

#include "testing/e2e/victims/rm.h"

namespace {

constexpr const char* kNoSocket = "/nonexistent/gpu-broker.sock";

// The run without a broker.
int Inner() {
  for (int i = 0; i < 3; ++i) {
    for (const char* path : {victim::kCtl, victim::kGpu0}) {
      errno = 0;
      victim::Law(open(path, O_RDWR | O_CLOEXEC) < 0 && errno == ENOENT,
                  "open(%s) without a broker is not ENOENT", path);
    }
  }
  const int fd = victim::Open("/dev/null");
  victim::Law(write(fd, "x", 1) == 1, "/dev/null takes no byte");
  victim::ProbedIds ids;
  victim::Law(victim::TryProbe(fd, 1, &ids) == ENOTTY, "ioctl on /dev/null is not ENOTTY");
  victim::Law(close(fd) == 0, "close fails");
  return 0;
}

std::string StderrOfInner(const char* log) {
  int ends[2];
  victim::Law(pipe2(ends, O_CLOEXEC) == 0, "pipe2 fails");
  const pid_t pid = fork();
  victim::Law(pid >= 0, "fork fails");
  if (pid == 0) {
    setenv("NVSHIM_SOCKET", kNoSocket, 1);
    log == nullptr ? unsetenv("NVSHIM_LOG") : setenv("NVSHIM_LOG", log, 1);
    dup2(ends[1], STDERR_FILENO);
    char name[] = "nobroker", inner[] = "inner";
    char* arguments[] = {name, inner, nullptr};
    execv("/proc/self/exe", arguments);
    _exit(1);
  }
  close(ends[1]);
  std::string text;
  char chunk[512];
  ssize_t size;
  while ((size = read(ends[0], chunk, sizeof(chunk))) > 0) text.append(chunk, static_cast<size_t>(size));
  close(ends[0]);
  fputs(text.c_str(), stderr);
  victim::AwaitSuccess(pid, "the program without a broker");
  return text;
}

}  // namespace

int main(int argc, char**) {
  victim::NeverHang();
  if (argc > 1) return Inner();
  const std::string silent = StderrOfInner(nullptr);
  victim::Law(silent.empty(), "%zu bytes on standard error although nobody asked", silent.size());
  const std::string spoken = StderrOfInner("1");
  size_t lines = 0;
  for (char letter : spoken) lines += letter == '\n';
  victim::Law(lines == 1, "%zu lines on standard error under NVSHIM_LOG=1, one is right", lines);
  return 0;
}
