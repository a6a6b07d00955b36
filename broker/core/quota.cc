#include "broker/core/quota.h"

#include "broker/core/rm_calls.h"

namespace nvshim::broker {
namespace {

// What memory of a class takes; nothing for virtual memory and for what is no memory.
std::optional<Resource> ResourceOf(uint32_t rm_class) {
  switch (rm_class) {
    case NV01_MEMORY_LOCAL_USER:
      return Resource::kVideoMemory;
    case NV01_MEMORY_SYSTEM:
    case NV01_MEMORY_SYSTEM_OS_DESCRIPTOR:
      return Resource::kPinnedMemory;
    default:
      return std::nullopt;
  }
}

std::optional<MemoryAsked> Asked(std::optional<Resource> resource, uint64_t size_bytes) {
  return resource ? std::optional(MemoryAsked{*resource, size_bytes}) : std::nullopt;
}

// As the driver chooses the class of what the heap gives: virtual, else video memory where the attributes say
// so, else the host's.
std::optional<MemoryAsked> AskedOfHeap(std::span<const uint8_t> bytes) {
  if (Get<uint32_t>(bytes, kFunctionOffset) != NVOS32_FUNCTION_ALLOC_SIZE) return std::nullopt;
  if ((Get<uint32_t>(bytes, kHeapFlagsOffset) & NVOS32_ALLOC_FLAGS_VIRTUAL) != 0) return std::nullopt;
  const bool is_video =
      (Get<uint32_t>(bytes, kHeapAttrOffset) & NVOS32_ATTR_LOCATION_MASK) == NVOS32_ATTR_LOCATION_VIDMEM;
  return MemoryAsked{is_video ? Resource::kVideoMemory : Resource::kPinnedMemory,
                     Get<uint64_t>(bytes, kHeapSizeOffset)};
}

}  // namespace

std::optional<MemoryAsked> MemoryOf(const CheckedCall& checked, const DriverCall& call) {
  if (call.segments.empty()) return std::nullopt;
  const auto bytes = call.Bytes(0);
  if (IsEscape(checked, NV_ESC_RM_ALLOC)) {
    const auto resource = ResourceOf(checked.nested->number);
    // The two classes that pass here have their size in NV_MEMORY_ALLOCATION_PARAMS.
    if (!resource || checked.nested_segment == 0) return std::nullopt;
    return MemoryAsked{*resource, Get<uint64_t>(call.Bytes(checked.nested_segment), kAllocationSizeOffset)};
  }
  if (IsEscape(checked, NV_ESC_RM_ALLOC_MEMORY)) {
    const uint64_t limit = Get<uint64_t>(bytes, kMemoryLimitOffset);
    return Asked(ResourceOf(Get<uint32_t>(bytes, kClassOffset)), limit == kNoLimit ? limit : limit + 1);
  }
  return IsEscape(checked, NV_ESC_RM_VID_HEAP_CONTROL) ? AskedOfHeap(bytes) : std::nullopt;
}

}  // namespace nvshim::broker
