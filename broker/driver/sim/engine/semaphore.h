// Semaphores in memory: a payload that somebody waits for, and optionally the time. Releases write the
// payload last and with release order, so that whoever sees it sees everything before it. Stateless.
#ifndef BROKER_DRIVER_SIM_ENGINE_SEMAPHORE_H_
#define BROKER_DRIVER_SIM_ENGINE_SEMAPHORE_H_

#include <cstdint>

#include "broker/driver/sim/engine/fault.h"
#include "broker/driver/sim/engine/host.h"

namespace nvshim::broker::sim::engine {

// Writes `payload` (4 bytes, or 8 when `wide`) to `address`; with `timestamp` 16 bytes, the upper 8 the time.
Fault ReleaseSemaphore(Host& host, uint64_t address, uint64_t payload, bool wide, bool timestamp);

// The 4 or 8 bytes at `address`, read with acquire order.
Fault ReadSemaphore(Host& host, uint64_t address, bool wide, uint64_t* value);

}  // namespace nvshim::broker::sim::engine

#endif  // BROKER_DRIVER_SIM_ENGINE_SEMAPHORE_H_
