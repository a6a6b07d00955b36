// Windows that guests have on GPU memory and registers, and the order in which they may go.
//
// RM does not take a mapping out of a process: after NV_ESC_RM_UNMAP_MEMORY or NV_ESC_RM_FREE the guest still
// reaches the same part of the GPU's BAR, which may be another guest's memory by then. So neither is passed
// on while the file that carries the mapping is held by anybody outside. libcuda asks for the unmapping first
// and takes the mapping away right after it, so an unmapping is owed and made up for later; it frees memory
// only after that, so a free that comes too early is refused.
//
// Memory of the system that is mapped through /dev/nvidiactl needs none of this: its pages live as long as a
// mapping.
#ifndef BROKER_DRIVER_KERNEL_GUEST_MAPPINGS_H_
#define BROKER_DRIVER_KERNEL_GUEST_MAPPINGS_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "broker/driver/driver.h"
#include "broker/driver/kernel/kernel.h"

namespace nvshim::broker::kernel {

// Of one worker: as many as a process can have (vm.max_map_count).
inline constexpr size_t kGuestMappingsMax = 65536;

// What NV_ESC_RM_MAP_MEMORY maps, in RM's handles: a memory object, through a device or subdevice.
struct MappedObject {
  uint32_t client;
  uint32_t device;
  uint32_t memory;
};

class GuestMappings {
 public:
  explicit GuestMappings(Kernel& kernel) : kernel_(kernel) {}

  // A guest is about to get `fd`, a file that carries a mapping of `object`. False when there is no room or
  // no way to watch it: then it must not.
  bool Add(int fd, const MappedObject& object);

  // How many mappings of the memory object may still be in use.
  size_t CountOf(uint32_t client, uint32_t memory);

  // Whether any mapping of the client's objects may be.
  bool AnyOf(uint32_t client);

  // An unmapping that the guest believes done: `bytes` of NVOS34, for an ioctl on `file`. False when as many
  // are owed as the memory has mappings: there is nothing left to unmap.
  bool Owe(DriverFileId file, const MappedObject& object, std::vector<uint8_t> bytes);

  struct Unmapping {
    DriverFileId file;
    MappedObject object;
    std::vector<uint8_t> bytes;
  };
  // Takes the owed ones whose memory nobody maps any more.
  std::vector<Unmapping> TakeDue();

 private:
  void Refresh();

  Kernel& kernel_;
  uint64_t next_id_ = 1;
  absl::flat_hash_map<uint64_t, MappedObject> mappings_;
  std::vector<Unmapping> owed_;
};

}  // namespace nvshim::broker::kernel

#endif  // BROKER_DRIVER_KERNEL_GUEST_MAPPINGS_H_
