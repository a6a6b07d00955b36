// Takes the worker's thread away from the CPU of a guest that makes calls in a row. On one CPU the two can
// only take turns, two switches for each call, however near they are; on two they see each other's stores.
// The scheduler does not know that: to it, who wakes somebody and then waits is best kept together with him.
//
// A nudge, not a binding: the thread may run everywhere before and after. Where the other CPUs are busy the
// scheduler brings it back, and then it is left alone for longer and longer.
#ifndef BROKER_WORKER_CPU_MOVER_H_
#define BROKER_WORKER_CPU_MOVER_H_

#include <chrono>
#include <cstdint>

namespace nvshim::broker {

// When to move. Pure.
class MovePolicy {
 public:
  using Clock = std::chrono::steady_clock;

  // Calls that make a burst, and how far apart they may be: a thread that does something else in between does
  // not gain.
  static constexpr uint32_t kCallsPerMove = 16;
  static constexpr std::chrono::microseconds kGapMax{200};
  // To be back so soon after a move says that there is no room elsewhere.
  static constexpr std::chrono::milliseconds kSoon{50};
  static constexpr std::chrono::milliseconds kHoldOffMin{1}, kHoldOffMax{1000};

  // A guest's call came from the CPU that the worker runs on. True when the worker should move.
  bool NoteShared(Clock::time_point now);

 private:
  uint32_t calls_ = 0;
  Clock::time_point last_call_{};
  Clock::time_point last_move_{};
  Clock::time_point not_before_{};
  std::chrono::milliseconds hold_off_ = kHoldOffMin;
};

// Moves the calling thread to another CPU than `cpu`, if it may run on any. Three system calls.
void LeaveCpu(unsigned cpu);

}  // namespace nvshim::broker

#endif  // BROKER_WORKER_CPU_MOVER_H_
