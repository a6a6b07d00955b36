// Law: a device file without O_CLOEXEC survives exec and works in the new program; one with O_CLOEXEC is
// gone. Where the new program is not given the shim, the descriptor is still a descriptor, an ioctl on it
// fails, and nothing hangs. The program executes itself; its first argument says which stage it is in.
#include <string>

#include "testing/e2e/victims/rm.h"

extern char** environ;

namespace {

void ExecSelf(const char* stage, const victim::Session& kept, int gone_fd, char** environment) {
  const std::string fd = std::to_string(kept.fd), client = std::to_string(kept.client),
                    gone = std::to_string(gone_fd);
  char name[] = "execer";
  std::string stage_text = stage;
  char* arguments[] = {name,
                       stage_text.data(),
                       const_cast<char*>(fd.c_str()),
                       const_cast<char*>(client.c_str()),
                       const_cast<char*>(gone.c_str()),
                       nullptr};
  execve("/proc/self/exe", arguments, environment);
  victim::Law(false, "exec of %s fails", stage);
}

void RunStage(const char* stage, const victim::Session& kept, int gone_fd, char** environment) {
  const pid_t pid = fork();
  victim::Law(pid >= 0, "fork fails");
  if (pid == 0) ExecSelf(stage, kept, gone_fd, environment);
  victim::AwaitSuccess(pid, stage);
}

void ExpectGone(int fd) {
  victim::Law(fcntl(fd, F_GETFD) < 0 && errno == EBADF, "a file opened with O_CLOEXEC survives exec");
}

void StageWithShim(const victim::Session& kept, int gone_fd) {
  ExpectGone(gone_fd);
  for (int i = 0; i < 50; ++i) victim::Probe(kept);
  const victim::Session own = victim::OpenSession();
  victim::Probe(own);
  victim::Probe(kept);
}

void StageWithoutShim(const victim::Session& kept, int gone_fd) {
  ExpectGone(gone_fd);
  victim::Law(fcntl(kept.fd, F_GETFD) >= 0, "a file opened without O_CLOEXEC does not survive exec");
  victim::ProbedIds ids;
  victim::Law(victim::TryProbe(kept.fd, kept.client, &ids) > 0, "an ioctl works without the shim");
}

}  // namespace

int main(int argc, char** argv) {
  victim::NeverHang();
  if (argc == 5) {
    const victim::Session kept = {atoi(argv[2]), static_cast<uint32_t>(strtoul(argv[3], nullptr, 10))};
    const std::string stage = argv[1];
    stage == "with-shim" ? StageWithShim(kept, atoi(argv[4])) : StageWithoutShim(kept, atoi(argv[4]));
    return 0;
  }
  const victim::Session kept = victim::OpenSession(O_RDWR);
  const int gone_fd = victim::Open(victim::kCtl, O_RDWR | O_CLOEXEC);
  RunStage("with-shim", kept, gone_fd, environ);
  char* no_environment[] = {nullptr};
  RunStage("without-shim", kept, gone_fd, no_environment);
  victim::Probe(kept);
  ExecSelf("with-shim", kept, gone_fd,
           environ);  // the process itself, not a child: the region is lost and made again
}
