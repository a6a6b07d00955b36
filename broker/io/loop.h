// The event loop: one io_uring, made and used by one thread for readiness and timers. Completions come back
// with the 64-bit tag their operation was given. The ring is restricted to the few operations used here
// before it is enabled; seccomp does not see ring operations, this list does. An epoll loop could stand
// behind the same interface.
#ifndef BROKER_IO_LOOP_H_
#define BROKER_IO_LOOP_H_

#include <liburing.h>

#include <chrono>
#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"

namespace nvshim::broker {

// What an operation was started with, and completes with: a kind chosen by the owner and an index into its
// tables.
struct Tag {
  uint8_t kind;
  uint32_t index;

  uint64_t Pack() const { return uint64_t{kind} << 32 | index; }
  static Tag Unpack(uint64_t packed) {
    return {static_cast<uint8_t>(packed >> 32), static_cast<uint32_t>(packed)};
  }
};

struct Completion {
  Tag tag;
  int result;  // >= 0, or a negative errno; -ECANCELED after Cancel
  bool more;   // the operation goes on (a multishot poll)
};

// For Loop::Timeout.
inline __kernel_timespec TimespecOf(std::chrono::nanoseconds duration) {
  return {duration.count() / 1'000'000'000, duration.count() % 1'000'000'000};
}

class Loop {
 public:
  static absl::StatusOr<std::unique_ptr<Loop>> Create();
  ~Loop();
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  // Completes each time `events` (POLLIN, ...) arise on `fd`, until it is cancelled or an error ends it.
  void Poll(int fd, uint32_t events, Tag tag);
  // Completes once, with -ETIME. `duration` must outlive the call of Wait that submits it.
  void Timeout(__kernel_timespec* duration, Tag tag);
  // Ends the operation of `tag`; its completion (-ECANCELED) still comes.
  void Cancel(Tag tag);

  // Hands queued operations to the kernel; with `block`, waits for at least one completion.
  void Submit(bool block);

  // Takes the next completion; false when there is none. Makes a system call only when the kernel says that
  // it has something to hand over.
  bool Next(Completion* completion);

 private:
  Loop() = default;
  int Init(unsigned flags);  // 0 or a negative errno
  io_uring_sqe* NextEntry();

  io_uring ring_{};
};

}  // namespace nvshim::broker

#endif  // BROKER_IO_LOOP_H_
