#include "broker/core/filter.h"

#include <algorithm>
#include <span>

#include "broker/core/rm_calls.h"

namespace nvshim::broker {
namespace {

using Bytes = std::span<uint8_t>;
using GuestBytes = std::span<const uint8_t>;

// ---- Memory ----

// NV2080_CTRL_FB_INFO_INDEX_* (ctrl2080fb.h) that tell, in KiB, how much memory there is, and how much of it
// is free. The upper byte of an index is for flags.
constexpr uint32_t kIndexMask = 0xffffff;
constexpr uint32_t kTotals[] = {
    0x07,  // RAM_SIZE
    0x08,  // TOTAL_RAM_SIZE
    0x09,  // HEAP_SIZE
    0x0a,  // MAPPABLE_HEAP_SIZE
    0x20,  // USABLE_RAM_SIZE
};
constexpr uint32_t kFrees[] = {
    0x12,  // LARGEST_FREE_REGION_SIZE_KB
    0x16,  // HEAP_FREE
};

template <size_t n>
bool IsAmong(const uint32_t (&numbers)[n], uint32_t number) {
  return std::find(numbers, numbers + n, number) != numbers + n;
}

// A list of NV2080_CTRL_FB_INFO: {index, data}.
void LimitFbInfo(const Account& account, uint32_t count, Bytes list) {
  count = std::min(count, static_cast<uint32_t>(list.size() / 8));
  for (uint32_t i = 0; i < count; ++i) {
    const uint32_t index = Get<uint32_t>(list, 8 * i) & kIndexMask;
    const uint64_t limit_bytes = IsAmong(kTotals, index)  ? account.limit(Resource::kVideoMemory)
                                 : IsAmong(kFrees, index) ? account.left(Resource::kVideoMemory)
                                                          : kNoLimit;
    const uint64_t data = Get<uint32_t>(list, 8 * i + 4);
    Put<uint32_t>(list, 8 * i + 4, static_cast<uint32_t>(std::min(data, limit_bytes >> 10)));
  }
}

void LimitHeapInfo(const Account& account, Bytes params) {
  const auto limit = [&](uint32_t offset, uint64_t limit_bytes) {
    Put<uint64_t>(params, offset, std::min(Get<uint64_t>(params, offset), limit_bytes));
  };
  limit(kHeapTotalOffset, account.limit(Resource::kVideoMemory));
  limit(kHeapFreeOffset, account.left(Resource::kVideoMemory));
  limit(kHeapLargestOffset, account.left(Resource::kVideoMemory));
}

// ---- Processes ----

void AnswerPids(const HandleTable& handles, GuestBytes asked, Bytes params) {
  std::copy(asked.begin(), asked.begin() + get_pids::kCount, params.begin());
  std::fill(params.begin() + get_pids::kCount, params.end(), 0);
  if (Get<uint32_t>(asked, get_pids::kIdType) != get_pids::kIdTypeClass) return;
  uint32_t count = 0;
  for (uint32_t pid : handles.PidsWithClass(Get<uint32_t>(asked, get_pids::kId)))
    if (count < get_pids::kTableSizeMax) Put<uint32_t>(params, get_pids::kTable + 4 * count++, pid);
  Put<uint32_t>(params, get_pids::kCount, count);
}

void AnswerPidInfo(const HandleTable& handles, GuestBytes asked, Bytes params) {
  std::copy(asked.begin(), asked.end(), params.begin());
  const std::map<uint32_t, MemoryUsage> usages = handles.MemoryByPid();
  const uint32_t count = std::min(Get<uint32_t>(asked, pid_info::kCount), pid_info::kListSizeMax);
  for (uint32_t i = 0; i < count; ++i) {
    const Bytes entry = params.subspan(pid_info::kList + size_t{pid_info::kSize} * i, pid_info::kSize);
    const auto it = usages.find(Get<uint32_t>(entry, pid_info::kPid));
    const MemoryUsage usage = it == usages.end() ? MemoryUsage{} : it->second;
    const bool known = Get<uint32_t>(entry, pid_info::kIndex) == pid_info::kIndexVideoMemoryUsage;
    std::fill(entry.begin() + pid_info::kResult, entry.end(), 0);
    Put<uint32_t>(entry, pid_info::kResult, known ? NV_OK : NV_ERR_INVALID_ARGUMENT);
    Put<uint32_t>(entry, pid_info::kComputeInstance, pid_info::kNoPartition);
    Put<uint32_t>(entry, pid_info::kGpuInstance, pid_info::kNoPartition);
    if (!known) continue;
    Put<uint64_t>(entry, pid_info::kPrivate, usage.private_bytes);
    Put<uint64_t>(entry, pid_info::kSharedOwned, usage.shared_owned_bytes);
    Put<uint64_t>(entry, pid_info::kSharedDuplicate, usage.shared_duplicate_bytes);
  }
}

}  // namespace

void FilterAnswer(const HandleTable& handles, const Account& account, const CheckedCall& checked,
                  const std::vector<uint8_t>& original, DriverCall& call) {
  if (IsEscape(checked, NV_ESC_RM_VID_HEAP_CONTROL) &&
      Get<uint32_t>(call.Bytes(0), kFunctionOffset) == NVOS32_FUNCTION_INFO)
    return LimitHeapInfo(account, call.Bytes(0));
  if (checked.spec->shape != abi::Shape::kControl || checked.nested_segment == 0) return;
  const Bytes params = call.Bytes(checked.nested_segment);
  const GuestBytes asked(original.data() + call.segments[checked.nested_segment].offset, params.size());
  switch (checked.nested->number) {
    case NV2080_CTRL_CMD_FB_GET_INFO:
      if (const uint32_t list = call.Child(checked.nested_segment, kFbInfoPointerOffset); list != 0)
        LimitFbInfo(account, Get<uint32_t>(asked, kFbInfoCountOffset), call.Bytes(list));
      return;
    case NV2080_CTRL_CMD_FB_GET_INFO_V2:
      return LimitFbInfo(account, Get<uint32_t>(asked, kFbInfoCountOffset),
                         params.subspan(kFbInfoListOffset));
    case NV2080_CTRL_CMD_GPU_GET_PIDS:
      return AnswerPids(handles, asked, params);
    case NV2080_CTRL_CMD_GPU_GET_PID_INFO:
      return AnswerPidInfo(handles, asked, params);
    default:
      return;
  }
}

}  // namespace nvshim::broker
