// Law: a signal handler may call ioctl while the thread it interrupts is itself inside ioctl; both get their
// own answer, no call returns EINTR, and errno of the interrupted code is the handler's business only.
#include <sys/time.h>

#include <initializer_list>

#include "testing/e2e/victims/rm.h"

namespace {

constexpr int kHandlerCalls = 2000;
constexpr int kTimerMicroseconds = 200;  // many times a second, yet slower than a call, so that main gets on

victim::Session handler_session;
volatile sig_atomic_t handled = 0;

void OnTimer(int) {
  const int error = errno;
  victim::Probe(handler_session);
  errno = error;
  handled = handled + 1;
}

void SetTimer(int microseconds) {
  itimerval timer = {};
  timer.it_interval.tv_usec = microseconds;
  timer.it_value.tv_usec = microseconds;
  victim::Law(setitimer(ITIMER_REAL, &timer, nullptr) == 0, "setitimer fails");
}

void Install(int flags) {
  struct sigaction action = {};
  action.sa_handler = OnTimer;
  action.sa_flags = flags;
  victim::Law(sigaction(SIGALRM, &action, nullptr) == 0, "sigaction fails");
}

}  // namespace

int main() {
  // ITIMER_REAL is the timer of alarm(): here the test runner's own limit guards against a hang.
  const victim::Session session = victim::OpenSession();
  handler_session = victim::OpenSession();
  for (int flags : {0, SA_RESTART}) {
    handled = 0;
    Install(flags);
    SetTimer(kTimerMicroseconds);
    while (handled < kHandlerCalls / 2) {
      victim::Probe(session);
      const int fd = open(victim::kCtl, O_RDWR | O_CLOEXEC);
      victim::Law(fd >= 0, "open under signals fails");
      close(fd);
    }
    SetTimer(0);
  }
  victim::Probe(session);
  victim::Probe(handler_session);
  return 0;
}
