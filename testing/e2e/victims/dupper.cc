// Law: every way to duplicate a device descriptor gives the same file; closing one name keeps the others; a
// number reused for another file speaks for that file; the last close, and no earlier one, frees the RM
// client. RM binds clients to the file they were made on, which is how this program tells one file from
// another; how many clients are left it asks the broker's own statistics.
#include <time.h>

#include <string>

#include "testing/e2e/victims/rm.h"

namespace {

constexpr int kReleaseTimeoutS =
    10;  // the worker sees a last close as a hang-up, a moment after close() returns

// RM clients of all guests, as `gpu-brokerctl stats` counts them.
long CountClients() {
  FILE* pipe = popen("env -u LD_PRELOAD \"$NVSHIM_BROKERCTL\" stats --socket \"$NVSHIM_SOCKET\"", "r");
  victim::Law(pipe != nullptr, "popen fails");
  std::string text;
  char chunk[4096];
  size_t size;
  while ((size = fread(chunk, 1, sizeof(chunk), pipe)) > 0) text.append(chunk, size);
  victim::Law(pclose(pipe) == 0, "gpu-brokerctl stats fails");
  const size_t key = text.find("\"clients\"");
  victim::Law(key != std::string::npos, "gpu-brokerctl stats counts no clients: %s", text.c_str());
  return strtol(text.c_str() + text.find(':', key) + 1, nullptr, 10);
}

void AwaitClients(long wanted) {
  const time_t deadline = time(nullptr) + kReleaseTimeoutS;
  long count;
  while ((count = CountClients()) != wanted && time(nullptr) < deadline) {
  }
  victim::Law(count == wanted, "the broker counts %ld clients, %ld is right", count, wanted);
}

void CloseFd(int fd) { victim::Law(close(fd) == 0, "close(%d) fails", fd); }

void EveryDuplicateWorks() {
  const victim::Session session = victim::OpenSession();
  const int target = victim::Open("/dev/null");
  const int fds[] = {
      dup(session.fd),
      dup2(session.fd, target),
      dup3(session.fd, 200, O_CLOEXEC),
      fcntl(session.fd, F_DUPFD, 300),
      fcntl(session.fd, F_DUPFD_CLOEXEC, 300),
  };
  for (int fd : fds) {
    victim::Law(fd >= 0, "a duplicate cannot be made");
    victim::Probe(fd, session.client);
  }
  CloseFd(session.fd);
  for (int fd : fds) victim::Probe(fd, session.client);
  for (int fd : fds) {
    victim::Probe(fd, session.client);
    CloseFd(fd);
  }
}

// dup2 onto the number of another open device file: the number changes its meaning behind the shim's back.
void ANumberReusedSpeaksForItsNewFile() {
  const victim::Session first = victim::OpenSession();
  const victim::Session second = victim::OpenSession();
  victim::Law(dup2(first.fd, second.fd) == second.fd, "dup2 over a device file fails");
  victim::Probe(second.fd, first.client);
  victim::ProbedIds ids;
  victim::Law(victim::TryProbe(first.fd, second.client, &ids) != 0,
              "a client outlives the last close of its file");
  CloseFd(first.fd);
  victim::Probe(second.fd, first.client);

  // The same number for something that is no device: ioctl must reach the kernel again.
  const int null_fd = victim::Open("/dev/null");
  victim::Law(dup2(null_fd, second.fd) == second.fd, "dup2 of /dev/null fails");
  victim::Law(victim::TryProbe(second.fd, first.client, &ids) == ENOTTY, "ioctl on /dev/null is not ENOTTY");
  char byte = 0;
  victim::Law(write(second.fd, &byte, 1) == 1, "/dev/null under a reused number takes no byte");
  CloseFd(null_fd);
  CloseFd(second.fd);
}

void TheLastCloseFreesTheClient() {
  const long before = CountClients();
  const victim::Session session = victim::OpenSession();
  const int duplicate = dup(session.fd);
  CloseFd(session.fd);
  victim::Probe(duplicate, session.client);
  AwaitClients(before + 1);
  CloseFd(duplicate);
  AwaitClients(before);
}

void NumbersAreReusedAThousandTimes() {
  for (int i = 0; i < 1000; ++i) {
    const victim::Session session = victim::OpenSession();
    victim::Probe(session);
    CloseFd(session.fd);
  }
}

}  // namespace

int main() {
  victim::NeverHang();
  EveryDuplicateWorks();
  ANumberReusedSpeaksForItsNewFile();
  AwaitClients(0);
  TheLastCloseFreesTheClient();
  NumbersAreReusedAThousandTimes();
  return 0;
}
