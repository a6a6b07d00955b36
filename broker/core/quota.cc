#include "broker/core/quota.h"

#include "broker/core/rm_calls.h"

namespace nvshim::broker {

MemoryCharge::MemoryCharge(MemoryLedger* ledger, uint64_t size_bytes)
    : ledger_(ledger), size_bytes_(size_bytes) {
  ledger_->used_bytes_ += size_bytes_;
}

MemoryCharge::~MemoryCharge() { ledger_->used_bytes_ -= size_bytes_; }

void MemoryCharge::GrowTo(uint64_t size_bytes) {
  if (size_bytes <= size_bytes_) return;
  ledger_->used_bytes_ += size_bytes - size_bytes_;
  size_bytes_ = size_bytes;
}

SharedCharge MemoryLedger::Charge(uint64_t size_bytes) {
  // Also without a quota: sums stay below 2^64.
  if (size_bytes > free_bytes()) return nullptr;
  return std::make_shared<MemoryCharge>(this, size_bytes);
}

std::optional<uint64_t> VideoMemoryBytes(const CheckedCall& checked, const DriverCall& call) {
  if (call.segments.empty()) return std::nullopt;
  const auto bytes = call.Bytes(0);
  if (IsEscape(checked, NV_ESC_RM_ALLOC)) {
    if (checked.nested->number != NV01_MEMORY_LOCAL_USER) return std::nullopt;
    return Get<uint64_t>(call.Bytes(checked.nested_segment), kAllocationSizeOffset);
  }
  if (IsEscape(checked, NV_ESC_RM_ALLOC_MEMORY)) {
    if (Get<uint32_t>(bytes, kClassOffset) != NV01_MEMORY_LOCAL_USER) return std::nullopt;
    const uint64_t limit = Get<uint64_t>(bytes, kMemoryLimitOffset);
    return limit == kNoQuota ? limit : limit + 1;
  }
  if (!IsEscape(checked, NV_ESC_RM_VID_HEAP_CONTROL) ||
      Get<uint32_t>(bytes, kFunctionOffset) != NVOS32_FUNCTION_ALLOC_SIZE)
    return std::nullopt;
  const bool is_virtual = (Get<uint32_t>(bytes, kHeapFlagsOffset) & NVOS32_ALLOC_FLAGS_VIRTUAL) != 0;
  const bool is_video =
      (Get<uint32_t>(bytes, kHeapAttrOffset) & NVOS32_ATTR_LOCATION_MASK) == NVOS32_ATTR_LOCATION_VIDMEM;
  return is_video && !is_virtual ? std::optional(Get<uint64_t>(bytes, kHeapSizeOffset)) : std::nullopt;
}

}  // namespace nvshim::broker
