// The ioctls of /dev/nvidia-uvm. Request numbers carry no size: sizes and the place of rmStatus come from the
// ABI table. Runs under the driver's lock; nothing in a call is trusted.
#ifndef BROKER_DRIVER_SIM_UVM_H_
#define BROKER_DRIVER_SIM_UVM_H_

#include <cstdint>
#include <span>
#include <string_view>

#include "broker/driver/sim/escapes.h"
#include "broker/driver/sim/uvm_space.h"

namespace nvshim::broker::sim {

// How a request on an initialised file is answered.
struct UvmRequest {
  uint32_t number;
  std::string_view name;
  std::string_view why;  // who asks; without `run`, why NV_OK is enough
  NvStatus (*run)(EscapeContext&, UvmSpace&, Bytes) = nullptr;  // null: NV_OK, and nothing is written
  bool guess = false;                                           // nobody was seen to ask
};

std::span<const UvmRequest> UvmRequests();

// Executes a request on a UVM file; returns its errno.
int RunUvm(EscapeContext& context);

}  // namespace nvshim::broker::sim

#endif  // BROKER_DRIVER_SIM_UVM_H_
