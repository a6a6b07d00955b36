// Semaphores in memory: a payload that somebody waits for, and optionally the time. Releases write the
// payload last and with release order, so that whoever sees it sees everything before it. Stateless.
#ifndef BROKER_DRIVER_SIM_ENGINE_SEMAPHORE_H_
#define BROKER_DRIVER_SIM_ENGINE_SEMAPHORE_H_

#include <cstdint>

#include "broker/driver/sim/engine/fault.h"
#include "broker/driver/sim/engine/host.h"

namespace nvshim::broker::sim::engine {

// What a release does to the value that is there. Host and copy engine number them so; the compute class has
// an order of its own.
enum class Reduction : uint8_t { kMin, kMax, kXor, kAnd, kOr, kAdd, kIncrement, kDecrement };

struct Release {
  uint64_t address = 0;
  uint64_t payload = 0;
  bool wide = false;       // 8 bytes instead of 4
  bool timestamp = false;  // 16 bytes, the upper 8 the time
  bool reduces = false;    // combines the payload with what is there; never with a timestamp
  Reduction reduction = Reduction::kMin;
  bool is_signed = false;
};

Fault ReleaseSemaphore(Host& host, const Release& release);

// The 4 or 8 bytes at `address`, read with acquire order.
Fault ReadSemaphore(Host& host, uint64_t address, bool wide, uint64_t* value);

}  // namespace nvshim::broker::sim::engine

#endif  // BROKER_DRIVER_SIM_ENGINE_SEMAPHORE_H_
