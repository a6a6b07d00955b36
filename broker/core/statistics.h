// What the core counts for each guest. Counters only grow; gauges are read off the tables when asked.
#ifndef BROKER_CORE_STATISTICS_H_
#define BROKER_CORE_STATISTICS_H_

#include <array>
#include <cstdint>

#include "broker/core/refusal.h"
#include "broker/core/resource.h"

namespace nvshim::broker {

struct Counters {
  uint64_t opens = 0;            // requests, refused ones included
  uint64_t ioctls = 0;           // requests, refused ones included
  uint64_t driver_calls = 0;     // of those, what reached the driver
  uint64_t would_be_denied = 0;  // passed, because the policy is only tried out
  std::array<uint64_t, static_cast<size_t>(Reason::kCount)> refusals{};
};

struct GuestStatisticsView {
  uint64_t processes = 0;
  uint64_t files = 0;
  uint64_t clients = 0;
  uint64_t objects = 0;
  uint64_t memory_bytes = 0;  // video memory, calls in flight included
  // Calls in flight included.
  Limits limits;
  Amounts used;
  Amounts refused;
  Counters counters;
};

}  // namespace nvshim::broker

#endif  // BROKER_CORE_STATISTICS_H_
