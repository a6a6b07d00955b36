// Law: after fork, parent and child both use the inherited device file and files of their own; the child's
// end takes nothing away from the parent. A child process has a region of its own, so this is where a lane
// shared by accident would let one take the other's replies.
#include "testing/e2e/victims/rm.h"

namespace {

constexpr int kCalls = 200;  // of each process at the same time, so that mixed-up replies would meet

void UseInheritedAndOwn(const victim::Session& inherited) {
  const victim::Session own = victim::OpenSession();
  victim::Law(own.client != inherited.client, "the child's new client has the handle of the parent's");
  for (int i = 0; i < kCalls; ++i) {
    victim::Probe(inherited);
    victim::Probe(own);
  }
}

// A grandchild: forking must work in a process that is itself a fork.
void ForkAgain(const victim::Session& inherited) {
  const pid_t pid = fork();
  victim::Law(pid >= 0, "fork in the child fails");
  if (pid == 0) {
    UseInheritedAndOwn(inherited);
    _exit(0);
  }
  victim::AwaitSuccess(pid, "the grandchild");
}

}  // namespace

int main() {
  victim::NeverHang();
  const victim::Session session = victim::OpenSession();
  victim::Probe(session);

  const pid_t pid = fork();
  victim::Law(pid >= 0, "fork fails");
  if (pid == 0) {
    victim::NeverHang();  // alarms are not inherited
    UseInheritedAndOwn(session);
    ForkAgain(session);
    _exit(0);
  }
  for (int i = 0; i < kCalls; ++i) victim::Probe(session);
  victim::AwaitSuccess(pid, "the child");

  victim::Probe(session);
  victim::Probe(victim::OpenSession());
  return 0;
}
