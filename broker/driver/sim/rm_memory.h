// Memory objects: from allocation parameters to a Memory with its charge. Shared by NV_ESC_RM_ALLOC and the
// older escapes that make the same objects. Runs under the driver's lock.
#ifndef BROKER_DRIVER_SIM_RM_MEMORY_H_
#define BROKER_DRIVER_SIM_RM_MEMORY_H_

#include "broker/driver/sim/bytes.h"
#include "broker/driver/sim/machine.h"

namespace nvshim::broker::sim {

// Gives `object`, just allocated by NV_ESC_RM_ALLOC, the memory that its parameters ask for, and writes back
// what RM chose. NV_ERR_NO_MEMORY when the heap is full.
NvStatus InitMemoryObject(Machine& machine, Client& client, Object& object, Bytes alloc_params);

}  // namespace nvshim::broker::sim

#endif  // BROKER_DRIVER_SIM_RM_MEMORY_H_
