// RM's object database: clients, the objects below them, who may name them, and what goes when something is
// freed.
//
//   client (bound to the ctl file it was made on)
//     +- device ............... children: freed with their parent
//     |    +- subdevice
//     |    +- address space <~~~ dependents: freed with what they need, wherever they hang
//     |    +- channel group ~~~~^
//     +- event
//
// Knows handles and parents, nothing about parameters, memory sizes or GPUs beyond carrying them. Runs under
// the driver's lock. Handles come from hostile callers: every look-up may fail, every table has a limit.
#ifndef BROKER_DRIVER_SIM_OBJECT_TREE_H_
#define BROKER_DRIVER_SIM_OBJECT_TREE_H_

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "broker/driver/driver.h"
#include "broker/driver/sim/address_space.h"
#include "broker/driver/sim/channels.h"
#include "broker/driver/sim/class_rules.h"
#include "broker/driver/sim/dma_mappings.h"
#include "broker/driver/sim/memory.h"
#include "broker/driver/sim/nv.h"
#include "broker/driver/sim/os_events.h"

namespace nvshim::broker::sim {

struct Object {
  uint32_t handle = 0;
  uint32_t class_number = 0;
  Kind kind = Kind::kOther;
  uint32_t gpu = 0;  // index; devices choose it, everything below inherits it

  uint32_t parent = 0;                                               // 0 for the client itself
  uint32_t first_child = 0, next_sibling = 0, previous_sibling = 0;  // 0 = none
  std::vector<uint32_t> needs;               // objects this one cannot outlive, besides its parent
  absl::flat_hash_set<uint32_t> dependents;  // objects that need this one

  std::shared_ptr<Memory> memory;                    // of memory objects
  std::shared_ptr<AddressSpace> address_space;       // of address spaces, and of what runs in one
  std::shared_ptr<SimChannel> channel;               // of channels
  uint32_t engine_type = 0;                          // of channel groups: NV2080_ENGINE_TYPE_*
  std::shared_ptr<EventListener> listener;           // of events
  uint64_t channel_group = 0;                        // of channel groups; see SimChannel::group
  DmaMappings dma_mappings;                          // of memory and virtual memory
  absl::flat_hash_map<uint64_t, uint64_t> mappings;  // CPU mappings: key address -> length
};

struct Client {
  uint32_t handle = 0;
  DriverFileId owner = 0;  // ctl file
  uint32_t next_generated = 0;
  const std::shared_ptr<ClientEvents> events = std::make_shared<ClientEvents>();  // shared with channels
  absl::flat_hash_map<uint32_t, std::unique_ptr<Object>> objects;  // the client itself is one of them

  Object* Find(uint32_t object) const {
    auto it = objects.find(object);
    return it == objects.end() ? nullptr : it->second.get();
  }
};

class ObjectTree {
 public:
  // Makes a client on the ctl file `owner`. `wanted` 0 lets RM choose. On NV_OK `*handle` is its handle.
  NvStatus NewClient(DriverFileId owner, uint32_t wanted, uint32_t* handle);

  // The client when `ctl_file` may use it, else null: to others it does not exist.
  Client* FindClient(uint32_t handle, DriverFileId ctl_file);
  // The client whoever asks. For calls that RM does not check by file.
  Client* FindAnyClient(uint32_t handle);

  // Adds an object of class `rule` below `parent`; `wanted` 0 lets RM choose the handle. The new object lives
  // until it is freed; the pointer is valid that long.
  NvStatus Allocate(Client& client, uint32_t parent, uint32_t wanted, const ClassRule& rule, Object** object);

  // From now on `object` goes when `needed` goes. Only for an object just allocated: INVALID_ARGUMENT once
  // others hang on it. OBJECT_NOT_FOUND when `needed` does not exist.
  NvStatus AddNeed(Client& client, Object& object, uint32_t needed);

  // Frees the object, its descendants and all that depend on them. An unknown object is no error, as in RM.
  // Freeing the client's own handle frees the client.
  void Free(Client& client, uint32_t object);

  // Frees all clients made on `owner`.
  void CloseFile(DriverFileId owner);

  size_t clients() const { return clients_.size(); }
  size_t objects() const { return object_count_; }  // clients not counted

 private:
  uint32_t GenerateHandle(Client& client) const;
  void Unlink(Client& client, Object& object);

  absl::flat_hash_map<uint32_t, std::unique_ptr<Client>> clients_;
  absl::flat_hash_map<DriverFileId, absl::flat_hash_set<uint32_t>> clients_of_file_;
  uint32_t next_client_ = 0;  // added to RM's base
  size_t object_count_ = 0;
};

}  // namespace nvshim::broker::sim

#endif  // BROKER_DRIVER_SIM_OBJECT_TREE_H_
