// What a duplicate of an RM object shares with it: memory, an address space. Taken from one object, it can be
// put below others, also of other clients, and after the first one is gone. Runs under the driver's lock.
#ifndef BROKER_DRIVER_SIM_DUPLICATE_H_
#define BROKER_DRIVER_SIM_DUPLICATE_H_

#include <cstdint>
#include <memory>

#include "broker/driver/sim/address_space.h"
#include "broker/driver/sim/class_rules.h"
#include "broker/driver/sim/memory.h"
#include "broker/driver/sim/nv.h"
#include "broker/driver/sim/object_tree.h"

namespace nvshim::broker::sim {

struct Duplicate {
  const ClassRule* rule = nullptr;
  std::shared_ptr<Memory> memory;
  std::shared_ptr<AddressSpace> address_space;
  uint32_t gpu = 0;
};

// INVALID_ARGUMENT for a class whose objects cannot be duplicated.
NvStatus TakeDuplicate(const Client& client, uint32_t object, Duplicate* duplicate);

// Makes an object of it; `parent` and `wanted` as in ObjectTree::Allocate. On NV_OK `*handle` is its handle.
NvStatus PutDuplicate(ObjectTree& tree, Client& client, uint32_t parent, uint32_t wanted,
                      const Duplicate& duplicate, uint32_t* handle);

}  // namespace nvshim::broker::sim

#endif  // BROKER_DRIVER_SIM_DUPLICATE_H_
