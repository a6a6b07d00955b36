#include "broker/worker/cpu_mover.h"

#include <sched.h>

#include <algorithm>

namespace nvshim::broker {

bool MovePolicy::NoteShared(Clock::time_point now) {
  if (now - last_call_ > kGapMax) calls_ = 0;
  last_call_ = now;
  if (++calls_ < kCallsPerMove || now < not_before_) return false;
  calls_ = 0;
  hold_off_ = now - last_move_ < kSoon + hold_off_ ? std::min(2 * hold_off_, kHoldOffMax) : kHoldOffMin;
  last_move_ = now;
  not_before_ = now + hold_off_;
  return true;
}

void LeaveCpu(unsigned cpu) {
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0 || CPU_COUNT(&allowed) < 2) return;
  cpu_set_t others = allowed;
  CPU_CLR(cpu, &others);
  if (sched_setaffinity(0, sizeof(others), &others) == 0) sched_setaffinity(0, sizeof(allowed), &allowed);
}

}  // namespace nvshim::broker
