// Mappings are split where a new one cuts into them.
#include "broker/driver/sim/address_space.h"

#include <algorithm>
#include <utility>

#include "broker/driver/sim/limits.h"

namespace nvshim::broker::sim {
namespace {

// Where RM starts handing out GPU virtual addresses when the caller names none, and where it ends: the user
// half of what processors and GPUs can both name.
constexpr uint64_t kVirtualBase = 0x1'2000'0000, kVirtualEnd = uint64_t{1} << 47;
// The page size that RM takes for memory of that size and more, and else.
constexpr uint64_t kHugePageBytes = 2 << 20, kBigPageBytes = 64 << 10, kPageBytes = 4 << 10;

constexpr uint64_t RoundUp(uint64_t value, uint64_t step) { return (value + step - 1) / step * step; }

}  // namespace

NvStatus AddressSpace::Map(uint64_t base, uint64_t length, std::shared_ptr<Memory> memory, uint64_t offset) {
  if (length == 0 || base + length < base) return NV_ERR_INVALID_ADDRESS;
  if (offset > memory->size_bytes || length > memory->size_bytes - offset) return NV_ERR_INVALID_LIMIT;
  // A cut makes at most one more.
  if (mappings_.size() + 2 > kUvmEntriesMax) return NV_ERR_NO_MEMORY;
  Unmap(base, length);
  mappings_.emplace(base, Mapping{length, std::move(memory), offset});
  return NV_OK;
}

void AddressSpace::Unmap(uint64_t base, uint64_t length) {
  if (length == 0) return;
  const uint64_t end = base + length < base ? UINT64_MAX : base + length;
  auto it = mappings_.upper_bound(base);
  if (it != mappings_.begin()) {
    const auto before = std::prev(it);
    const uint64_t before_end = before->first + before->second.length;
    if (before_end > base) it = before;
  }
  while (it != mappings_.end() && it->first < end) {
    const uint64_t start = it->first;
    const Mapping mapping = std::move(it->second);
    it = mappings_.erase(it);
    if (start < base) mappings_.emplace(start, Mapping{base - start, mapping.memory, mapping.offset});
    if (start + mapping.length > end) {
      const uint64_t cut = end - start;
      it = mappings_.emplace(end, Mapping{mapping.length - cut, mapping.memory, mapping.offset + cut}).first;
    }
  }
}

uint64_t AddressSpace::MappingInTheWay(uint64_t base, uint64_t length) const {
  auto it = mappings_.upper_bound(base);
  if (it != mappings_.begin()) {
    const auto& [start, mapping] = *std::prev(it);
    if (base - start < mapping.length) return start + mapping.length;
  }
  return it != mappings_.end() && it->first - base < length ? it->first + it->second.length : 0;
}

uint64_t AddressSpace::ReservationInTheWay(uint64_t base, uint64_t length) const {
  auto it = reservations_.upper_bound(base);
  if (it != reservations_.begin()) {
    const auto& [start, reserved] = *std::prev(it);
    if (base - start < reserved) return start + reserved;
  }
  return it != reservations_.end() && it->first - base < length ? it->first + it->second : 0;
}

NvStatus AddressSpace::Reserve(bool fixed, uint64_t length, uint64_t* base) {
  if (length == 0 || reservations_.size() >= kUvmEntriesMax) return NV_ERR_NO_MEMORY;
  if (fixed) {
    if (*base + length < *base || ReservationInTheWay(*base, length) != 0) return NV_ERR_NO_MEMORY;
  } else {
    const uint64_t page = length >= kHugePageBytes ? kHugePageBytes : kBigPageBytes;
    *base = kVirtualBase;
    // Each step passes one of a bounded number of neighbours.
    for (uint64_t past = 1; past != 0;) {
      if (*base > kVirtualEnd || length > kVirtualEnd - *base) return NV_ERR_NO_MEMORY;
      past = std::max(ReservationInTheWay(*base, length), MappingInTheWay(*base, length));
      if (past != 0) *base = RoundUp(past, page);
    }
  }
  reservations_.emplace(*base, length);
  return NV_OK;
}

void AddressSpace::Release(uint64_t base) {
  const auto it = reservations_.find(base);
  if (it == reservations_.end()) return;
  Unmap(base, it->second);
  reservations_.erase(it);
}

NvStatus AddressSpace::FindUnmapped(uint64_t low, uint64_t high, uint64_t length, uint64_t* base) const {
  *base = RoundUp(low, kPageBytes);
  for (uint64_t past = 1; past != 0;) {
    if (*base < low || *base > high || length > high - *base) return NV_ERR_NO_MEMORY;
    past = MappingInTheWay(*base, length);
    if (past != 0) *base = RoundUp(past, kPageBytes);
  }
  return NV_OK;
}

std::span<uint8_t> AddressSpace::Resolve(uint64_t address, uint64_t length) {
  auto after = mappings_.upper_bound(address);
  if (after == mappings_.begin()) return {};
  const auto& [base, mapping] = *std::prev(after);
  const uint64_t inside = address - base;
  if (inside >= mapping.length) return {};
  const std::span<uint8_t> bytes = mapping.memory->Bytes(backings_);
  if (bytes.empty()) return {};
  return bytes.subspan(mapping.offset + inside, std::min(length, mapping.length - inside));
}

}  // namespace nvshim::broker::sim
