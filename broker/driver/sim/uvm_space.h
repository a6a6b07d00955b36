// The address space of one UVM file: which GPUs, ranges and range groups it has. Enough to answer as the UVM
// module does; no page is ever migrated. Runs under the driver's lock.
//
// A managed range comes into being when the program maps the file, and ends when it unmaps it. The driver
// sees neither: it learns of a managed range when the program first asks about it, and takes one for gone
// when another range needs its place.
#ifndef BROKER_DRIVER_SIM_UVM_SPACE_H_
#define BROKER_DRIVER_SIM_UVM_SPACE_H_

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <set>

#include "broker/driver/sim/address_space.h"
#include "broker/driver/sim/nv.h"

namespace nvshim::broker::sim {

using GpuUuid = std::array<uint8_t, 16>;

class UvmSpace {
 public:
  UvmSpace() = default;
  UvmSpace(const UvmSpace&) = delete;
  UvmSpace& operator=(const UvmSpace&) = delete;
  ~UvmSpace();

  bool multi_process = false;  // UVM_INIT_FLAGS_MULTI_PROCESS_SHARING_MODE
  std::set<GpuUuid> gpus;      // registered

  // Adds [base, base + length). Page aligned, not empty, not overlapping; else the module's status. With
  // `memory`, as long as the range, all GPUs with an address space see it there, also those that get one
  // later.
  NvStatus AddRange(uint64_t base, uint64_t length, std::shared_ptr<Memory> memory = nullptr,
                    bool managed = false);
  // Removes the range that starts at `base`, and what GPUs see there. INVALID_ADDRESS when there is none.
  NvStatus RemoveRange(uint64_t base);
  // True when one range holds [base, base + length).
  bool Contains(uint64_t base, uint64_t length) const;

  // The memory of the semaphore pool that holds `address`, and the offset in it; null where there is none.
  Memory* FindPool(uint64_t address, uint64_t* offset) const;

  // From now on mappings are made in `space` of the GPU `uuid`; INVALID_STATE when it has one already,
  // NO_MEMORY when ranges with memory do not fit.
  NvStatus AddVaspace(const GpuUuid& uuid, std::shared_ptr<AddressSpace> space);
  // Takes all ranges out of the GPU's address space and forgets it. INVALID_ARGUMENT when it has none.
  NvStatus RemoveVaspace(const GpuUuid& uuid);
  // Null when the GPU has none.
  AddressSpace* FindVaspace(const GpuUuid& uuid) const;

  NvStatus AddGroup(uint64_t* id);
  NvStatus RemoveGroup(uint64_t id);
  bool HasGroup(uint64_t id) const { return groups_.contains(id); }

 private:
  struct Range {
    uint64_t length;
    std::shared_ptr<Memory> memory;
    bool managed;
  };
  using Ranges = std::map<uint64_t, Range>;  // by base

  // The first range that overlaps [base, base + length), or end().
  Ranges::iterator FindOverlap(uint64_t base, uint64_t length);
  Ranges::iterator Remove(Ranges::iterator range);

  Ranges ranges_;
  std::map<GpuUuid, std::shared_ptr<AddressSpace>> vaspaces_;
  std::set<uint64_t> groups_;
  uint64_t next_group_ = 1;
};

}  // namespace nvshim::broker::sim

#endif  // BROKER_DRIVER_SIM_UVM_SPACE_H_
