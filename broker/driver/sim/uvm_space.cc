// Ranges are kept by base address; neighbours of the insertion point decide about overlap.
#include "broker/driver/sim/uvm_space.h"

#include <utility>

#include "broker/driver/sim/limits.h"

namespace nvshim::broker::sim {
namespace {

constexpr uint64_t kPageMask = 4095;

}  // namespace

NvStatus UvmSpace::AddRange(uint64_t base, uint64_t length) {
  if (length == 0 || ((base | length) & kPageMask) != 0 || base + length < base)
    return NV_ERR_INVALID_ADDRESS;
  if (ranges_.size() >= kUvmEntriesMax) return NV_ERR_NO_MEMORY;
  auto next = ranges_.lower_bound(base);
  if (next != ranges_.end() && next->first - base < length) return NV_ERR_UVM_ADDRESS_IN_USE;
  if (next != ranges_.begin()) {
    auto previous = std::prev(next);
    if (base - previous->first < previous->second) return NV_ERR_UVM_ADDRESS_IN_USE;
  }
  ranges_.emplace_hint(next, base, length);
  return NV_OK;
}

UvmSpace::~UvmSpace() {
  while (!vaspaces_.empty()) RemoveVaspace(vaspaces_.begin()->first);
}

NvStatus UvmSpace::RemoveRange(uint64_t base) {
  const auto it = ranges_.find(base);
  if (it == ranges_.end()) return NV_ERR_INVALID_ADDRESS;
  for (const auto& [uuid, space] : vaspaces_) space->Unmap(base, it->second);
  ranges_.erase(it);
  return NV_OK;
}

NvStatus UvmSpace::AddVaspace(const GpuUuid& uuid, std::shared_ptr<AddressSpace> space) {
  return vaspaces_.emplace(uuid, std::move(space)).second ? NV_OK : NV_ERR_INVALID_STATE;
}

NvStatus UvmSpace::RemoveVaspace(const GpuUuid& uuid) {
  const auto it = vaspaces_.find(uuid);
  if (it == vaspaces_.end()) return NV_ERR_INVALID_ARGUMENT;
  for (const auto& [base, length] : ranges_) it->second->Unmap(base, length);
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
  const auto& [range_base, range_length] = *std::prev(after);
  const uint64_t inside = base - range_base;
  return inside < range_length && length <= range_length - inside;
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
