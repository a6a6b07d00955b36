// Mappings of memory into GPU address spaces by NV_ESC_RM_MAP_MEMORY_DMA. One belongs to two objects, the
// virtual memory it lies in and the memory that is mapped, and ends with the first of them. Runs under the
// driver's lock.
#ifndef BROKER_DRIVER_SIM_DMA_MAPPINGS_H_
#define BROKER_DRIVER_SIM_DMA_MAPPINGS_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "broker/driver/sim/address_space.h"
#include "broker/driver/sim/nv.h"

namespace nvshim::broker::sim {

struct DmaMapping {
  std::shared_ptr<AddressSpace> space;
  uint64_t base;
  uint64_t length;  // 0 once it has ended
};

// The mappings of one object.
class DmaMappings {
 public:
  DmaMappings() = default;
  DmaMappings(const DmaMappings&) = delete;
  DmaMappings& operator=(const DmaMappings&) = delete;
  ~DmaMappings();

  // Makes the mapping belong to `virtual_memory` and `memory`; false when one of them has too many.
  static bool Add(const DmaMapping& mapping, DmaMappings& virtual_memory, DmaMappings& memory);
  // Ends the one that starts at `base`, OBJECT_NOT_FOUND when there is none. It ends as a whole: a `length`
  // other than its own or 0 is NOT_SUPPORTED.
  NvStatus Remove(uint64_t base, uint64_t length);

 private:
  bool HasRoom();

  std::vector<std::shared_ptr<DmaMapping>> mappings_;  // ended ones among them, until room is needed
};

}  // namespace nvshim::broker::sim

#endif  // BROKER_DRIVER_SIM_DMA_MAPPINGS_H_
