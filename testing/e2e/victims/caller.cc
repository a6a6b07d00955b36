// Not a law but a guest for the tests of sudden death: calls without pause until its standard input is
// closed, then proves that its files, and new ones, still work. Says "calling" after its first answers,
// "done" at the end, and the name of the errno when a call fails, after which it ends with status 3.
#include <poll.h>

#include "testing/e2e/victims/rm.h"

namespace {

constexpr int kFiles = 8;  // so that there is something to clean up

void Say(const char* line) {
  victim::Law(dprintf(STDOUT_FILENO, "%s\n", line) > 0, "standard output is closed");
}

bool InputIsClosed() {
  pollfd input = {STDIN_FILENO, POLLIN, 0};
  return poll(&input, 1, 0) > 0;
}

void CallOrReport(const victim::Session& session) {
  victim::ProbedIds ids;
  const int64_t result = victim::TryProbe(session.fd, session.client, &ids);
  if (result == 0) return;
  Say(result > 0 ? strerrorname_np(static_cast<int>(result)) : "an NV_STATUS");
  _exit(3);
}

}  // namespace

int main() {
  victim::Session sessions[kFiles];
  for (victim::Session& session : sessions) {
    session = victim::OpenSession();
    victim::Probe(session);
  }
  Say("calling");
  while (!InputIsClosed())
    for (const victim::Session& session : sessions) CallOrReport(session);
  for (const victim::Session& session : sessions) victim::Probe(session);
  victim::Probe(victim::OpenSession());
  Say("done");
  return 0;
}
