// Small scopes that keep the host program from noticing us: its errno, its signals, and a lock that is safe
// where a pthread mutex is not (in signal handlers, in forked children, under thread cancellation). Nothing
// here allocates.
#ifndef PRELOAD_GUARD_H_
#define PRELOAD_GUARD_H_

#include <errno.h>
#include <signal.h>

#include <atomic>
#include <cstdint>

#include "preload/syscalls.h"

namespace nvshim::preload {

// Puts errno back: a call of libc on our own behalf must not show.
class ErrnoKeeper {
 public:
  ErrnoKeeper() : saved_(errno) {}
  ~ErrnoKeeper() { errno = saved_; }
  ErrnoKeeper(const ErrnoKeeper&) = delete;
  ErrnoKeeper& operator=(const ErrnoKeeper&) = delete;

 private:
  const int saved_;
};

// No signal handler runs on this thread inside the scope. For short, bounded work only.
class SignalBlock {
 public:
  SignalBlock() {
    const uint64_t all = ~uint64_t{0};
    Syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, &saved_, sizeof(saved_));
  }
  ~SignalBlock() { Syscall(SYS_rt_sigprocmask, SIG_SETMASK, &saved_, 0, sizeof(saved_)); }
  SignalBlock(const SignalBlock&) = delete;
  SignalBlock& operator=(const SignalBlock&) = delete;

 private:
  uint64_t saved_ = 0;  // the kernel's signal set, 64 signals
};

// A mutual exclusion within this process. Hold it only inside a SignalBlock: a handler that interrupted the
// holder could otherwise wait for its own thread.
class FutexLock {
 public:
  constexpr FutexLock() = default;

  void Lock() {
    uint32_t expected = kFree;
    if (word_.compare_exchange_strong(expected, kHeld, std::memory_order_acquire)) return;
    while (word_.exchange(kContended, std::memory_order_acquire) != kFree)
      FutexWait(&word_, kContended, FUTEX_PRIVATE_FLAG, kRecheckNs);
  }

  void Unlock() {
    if (word_.exchange(kFree, std::memory_order_release) == kContended)
      FutexWake(&word_, 1, FUTEX_PRIVATE_FLAG);
  }

  // In a forked child: whoever held it does not exist here.
  void Reset() { word_.store(kFree, std::memory_order_relaxed); }

 private:
  static constexpr uint32_t kFree = 0, kHeld = 1, kContended = 2;
  // A waiter is woken; this only bounds what a lost wake-up (a holder that was killed by its handler) costs.
  static constexpr int64_t kRecheckNs = 1'000'000'000;

  std::atomic<uint32_t> word_{kFree};
};

class LockGuard {
 public:
  explicit LockGuard(FutexLock& lock) : lock_(lock) { lock_.Lock(); }
  ~LockGuard() { lock_.Unlock(); }
  LockGuard(const LockGuard&) = delete;
  LockGuard& operator=(const LockGuard&) = delete;

 private:
  SignalBlock signals_;  // first in, last out
  FutexLock& lock_;
};

}  // namespace nvshim::preload

#endif  // PRELOAD_GUARD_H_
