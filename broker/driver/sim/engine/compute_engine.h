// The compute class of a channel, as far as it needs no shader: inline data written to memory, and report
// semaphores. Anything that would start a program is a fault, and all other methods are state for such
// programs and change nothing. One thread at a time.
#ifndef BROKER_DRIVER_SIM_ENGINE_COMPUTE_ENGINE_H_
#define BROKER_DRIVER_SIM_ENGINE_COMPUTE_ENGINE_H_

#include <cstdint>

#include "broker/driver/sim/engine/fault.h"
#include "broker/driver/sim/engine/host.h"

namespace nvshim::broker::sim::engine {

class ComputeEngine {
 public:
  Fault Method(Host& host, uint32_t method, uint32_t data);

 private:
  Fault StartInline(uint32_t launch);
  Fault InlineData(Host& host, uint32_t data);
  Fault Report(Host& host, uint32_t operation);

  uint32_t line_length_ = 0, line_count_ = 0;
  uint64_t target_ = 0;
  uint64_t inline_left_ = 0;  // bytes that LOAD_INLINE_DATA still brings
  uint64_t inline_at_ = 0;
  uint64_t report_ = 0;
  uint32_t report_payload_ = 0;
};

}  // namespace nvshim::broker::sim::engine

#endif  // BROKER_DRIVER_SIM_ENGINE_COMPUTE_ENGINE_H_
