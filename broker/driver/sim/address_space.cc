// Mappings are split where a new one cuts into them.
#include "broker/driver/sim/address_space.h"

#include <algorithm>
#include <utility>

#include "broker/driver/sim/limits.h"

namespace nvshim::broker::sim {

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
