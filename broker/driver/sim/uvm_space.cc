// Ranges are kept by base address; neighbours of the insertion point decide about overlap.
#include "broker/driver/sim/uvm_space.h"

#include <utility>

#include "broker/driver/sim/limits.h"

namespace nvshim::broker::sim {
namespace {

constexpr uint64_t kPageMask = 4095;

}  // namespace

UvmSpace::Ranges::iterator UvmSpace::FindOverlap(uint64_t base, uint64_t length) {
  auto range = ranges_.upper_bound(base);
  if (range != ranges_.begin()) {
    const auto before = std::prev(range);
    if (base - before->first < before->second.length) return before;
  }
  return range != ranges_.end() && range->first - base < length ? range : ranges_.end();
}

UvmSpace::Ranges::iterator UvmSpace::Remove(Ranges::iterator range) {
  for (const auto& [uuid, space] : vaspaces_) space->Unmap(range->first, range->second.length);
  // Whoever gets the place next finds it empty.
  if (range->second.memory != nullptr) range->second.memory->Discard();
  return ranges_.erase(range);
}

NvStatus UvmSpace::AddRange(uint64_t base, uint64_t length, std::shared_ptr<Memory> memory, bool managed) {
  if (length == 0 || ((base | length) & kPageMask) != 0 || base + length < base)
    return NV_ERR_INVALID_ADDRESS;
  for (auto range = FindOverlap(base, length); range != ranges_.end(); range = FindOverlap(base, length)) {
    if (!range->second.managed) return NV_ERR_UVM_ADDRESS_IN_USE;
    Remove(range);
  }
  if (ranges_.size() >= kUvmEntriesMax) return NV_ERR_NO_MEMORY;
  const auto range = ranges_.emplace(base, Range{length, memory, managed}).first;
  if (memory == nullptr) return NV_OK;
  for (const auto& [uuid, space] : vaspaces_) {
    if (const NvStatus status = space->Map(base, length, memory, 0); status != NV_OK) {
      Remove(range);
      return status;
    }
  }
  return NV_OK;
}

UvmSpace::~UvmSpace() {
  while (!vaspaces_.empty()) RemoveVaspace(vaspaces_.begin()->first);
}

NvStatus UvmSpace::RemoveRange(uint64_t base) {
  const auto it = ranges_.find(base);
  if (it == ranges_.end()) return NV_ERR_INVALID_ADDRESS;
  Remove(it);
  return NV_OK;
}

Memory* UvmSpace::FindPool(uint64_t address, uint64_t* offset) const {
  auto after = ranges_.upper_bound(address);
  if (after == ranges_.begin()) return nullptr;
  const auto& [base, range] = *std::prev(after);
  *offset = address - base;
  return *offset < range.length && !range.managed ? range.memory.get() : nullptr;
}

NvStatus UvmSpace::AddVaspace(const GpuUuid& uuid, std::shared_ptr<AddressSpace> space) {
  const auto [it, added] = vaspaces_.emplace(uuid, std::move(space));
  if (!added) return NV_ERR_INVALID_STATE;
  for (const auto& [base, range] : ranges_) {
    if (range.memory == nullptr) continue;
    if (const NvStatus status = it->second->Map(base, range.length, range.memory, 0); status != NV_OK) {
      RemoveVaspace(uuid);
      return status;
    }
  }
  return NV_OK;
}

NvStatus UvmSpace::RemoveVaspace(const GpuUuid& uuid) {
  const auto it = vaspaces_.find(uuid);
  if (it == vaspaces_.end()) return NV_ERR_INVALID_ARGUMENT;
  for (const auto& [base, range] : ranges_) it->second->Unmap(base, range.length);
  vaspaces_.erase(it);
  return NV_OK;
}

AddressSpace* UvmSpace::FindVaspace(const GpuUuid& uuid) const {
  const auto it = vaspaces_.find(uuid);
  return it == vaspaces_.end() ? nullptr : it->second.get();
}

bool UvmSpace::Contains(uint64_t base, uint64_t length) const {
  auto after = ranges_.upper_bound(base);
  if (after == ranges_.begin()) return false;
  const auto& [range_base, range] = *std::prev(after);
  const uint64_t inside = base - range_base;
  return inside < range.length && length <= range.length - inside;
}

NvStatus UvmSpace::AddGroup(uint64_t* id) {
  if (groups_.size() >= kUvmEntriesMax) return NV_ERR_NO_MEMORY;
  *id = next_group_++;
  groups_.insert(*id);
  return NV_OK;
}

NvStatus UvmSpace::RemoveGroup(uint64_t id) {
  return groups_.erase(id) != 0 ? NV_OK : NV_ERR_INVALID_ARGUMENT;
}

}  // namespace nvshim::broker::sim
