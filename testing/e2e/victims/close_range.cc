// Law: a program that closes all descriptors it does not know, as daemons and sandboxes do, loses its device
// files and nothing else: the next open works. The shim's own descriptors are among those closed, and their
// numbers may be someone else's by the time it looks.
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <unistd.h>

#include "testing/e2e/victims/rm.h"

namespace {

void ExpectFreshStart(const victim::Session& lost) {
  victim::ProbedIds ids;
  victim::Law(victim::TryProbe(lost.fd, lost.client, &ids) == EBADF, "a closed device file still answers");
  for (int round = 0; round < 3; ++round) {
    const victim::Session session = victim::OpenSession();
    for (int i = 0; i < 50; ++i) victim::Probe(session);
  }
}

void CloseRangeTakesAll() {
  const victim::Session session = victim::OpenSession();
  victim::Probe(session);
  victim::Law(close_range(3, ~0u, 0) == 0, "close_range fails");
  ExpectFreshStart(session);
}

void ALoopOfCloseTakesAll() {
  const victim::Session session = victim::OpenSession();
  victim::Probe(session);
  for (int fd = 3; fd < 4096; ++fd) close(fd);
  ExpectFreshStart(session);
}

// Foreign files take every low number before the shim looks again; none of them may be written to.
void NumbersTakenByOthersStayUntouched() {
  const victim::Session session = victim::OpenSession();
  victim::Probe(session);
  victim::Law(close_range(3, ~0u, 0) == 0, "close_range fails");
  int ends[2];
  victim::Law(pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0, "pipe2 fails");
  for (int fd = ends[1] + 1; fd < 1000; ++fd) victim::Law(dup2(ends[1], fd) == fd, "dup2 fails");
  const victim::Session fresh = victim::OpenSession();
  for (int i = 0; i < 50; ++i) victim::Probe(fresh);
  char byte;
  victim::Law(read(ends[0], &byte, 1) < 0 && errno == EAGAIN,
              "the shim writes into a descriptor of the program");
  for (int fd = ends[1] + 1; fd < 1000; ++fd)
    victim::Law(fcntl(fd, F_GETFD) >= 0, "the shim closes descriptor %d of the program", fd);
}

// Only the shim's own descriptors are closed: the one call that notices may fail, the others find the file
// again.
void AFileThatWasKeptIsFoundAgain() {
  const victim::Session session = victim::OpenSession();
  victim::Probe(session);
  victim::Law(close_range(static_cast<unsigned>(session.fd) + 1, ~0u, 0) == 0, "close_range fails");
  int failures = 0;
  for (int i = 0; i < 50; ++i) {
    victim::ProbedIds ids;
    const int64_t result = victim::TryProbe(session.fd, session.client, &ids);
    victim::Law(result == 0 || result == EIO, "a call on a kept file: %lld", static_cast<long long>(result));
    failures += result != 0;
  }
  victim::Law(failures <= 1, "%d calls on a kept file fail", failures);
}

}  // namespace

int main() {
  victim::NeverHang();
  AFileThatWasKeptIsFoundAgain();
  CloseRangeTakesAll();
  ALoopOfCloseTakesAll();
  NumbersTakenByOthersStayUntouched();
  AFileThatWasKeptIsFoundAgain();
  return 0;
}
