// The ioctls of /dev/nvidia-uvm. Request numbers carry no size: sizes and the place of rmStatus come from the
// ABI table. Runs under the driver's lock; nothing in a call is trusted.
#ifndef BROKER_DRIVER_SIM_UVM_H_
#define BROKER_DRIVER_SIM_UVM_H_

#include "broker/driver/sim/escapes.h"
#include "proto/abi/spec.h"

namespace nvshim::broker::sim {

// Executes a request on a UVM file; returns its errno. `table` is that of the driver's version.
int RunUvm(EscapeContext& context, const abi::Table& table);

}  // namespace nvshim::broker::sim

#endif  // BROKER_DRIVER_SIM_UVM_H_
