// The kernel, called directly: no errno, no cancellation point, no symbol that the host program or another
// preloaded library could have replaced. Everything below the trampolines of exports.cc goes this way, on
// whatever thread the host program called us. Results are the kernel's: negative errno numbers are failures.
#ifndef PRELOAD_SYSCALLS_H_
#define PRELOAD_SYSCALLS_H_

#include <fcntl.h>
#include <linux/futex.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>

#include <atomic>
#include <cstdint>

#ifndef __x86_64__
#error "the NVIDIA layouts and the kernel calls of this library are those of x86-64"
#endif

namespace nvshim::preload {

inline long RawSyscall(long number, long a, long b, long c, long d, long e, long f) {
  long result;
  register long r10 asm("r10") = d;
  register long r8 asm("r8") = e;
  register long r9 asm("r9") = f;
  // SAFETY: the x86-64 kernel convention; the kernel preserves everything but rax, rcx and r11.
  asm volatile("syscall"
               : "=a"(result)
               : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
               : "rcx", "r11", "memory");
  return result;
}

template <typename... Args>
inline long Syscall(long number, Args... args) {
  static_assert(sizeof...(Args) <= 6, "the kernel takes six arguments");
  const long values[7] = {(long)(args)...};
  return RawSyscall(number, values[0], values[1], values[2], values[3], values[4], values[5]);
}

inline void CloseFd(int fd) { Syscall(SYS_close, fd); }

// The kernel's struct stat and glibc's are the same on x86-64.
inline bool FstatFd(int fd, struct stat* out) { return Syscall(SYS_fstat, fd, out) == 0; }

// Sleeps while `word` holds `expected`, at most `timeout_ns`. `private_flag` is 0 or FUTEX_PRIVATE_FLAG.
// 0, -EAGAIN when the word has another value, -ETIMEDOUT or -EINTR.
inline long FutexWait(std::atomic<uint32_t>* word, uint32_t expected, int private_flag, int64_t timeout_ns) {
  const timespec timeout = {timeout_ns / 1'000'000'000, timeout_ns % 1'000'000'000};
  return Syscall(SYS_futex, word, FUTEX_WAIT | private_flag, expected, &timeout, 0, 0);
}

inline void FutexWake(std::atomic<uint32_t>* word, int count, int private_flag) {
  Syscall(SYS_futex, word, FUTEX_WAKE | private_flag, count, 0, 0, 0);
}

// Makes an eventfd readable. 0 or more, or a negative errno.
inline long SignalEventFd(int fd) {
  const uint64_t one = 1;
  return Syscall(SYS_write, fd, &one, sizeof(one));
}

// Flag of userfaultfd(2), since Linux 5.11; headers of old have no name for it (UFFD_USER_MODE_ONLY). What
// everybody may ask for.
inline constexpr int kUserModeOnly = 1;

inline int64_t MonotonicNs() {
  timespec now = {};
  Syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

}  // namespace nvshim::preload

#endif  // PRELOAD_SYSCALLS_H_
