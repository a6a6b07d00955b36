#include "broker/core/intervene.h"

#include <algorithm>

namespace nvshim::broker {
namespace {

// NVA06C_CTRL_SET_TIMESLICE_PARAMS (ctrla06c.h): NvU64 timesliceUs.
constexpr uint32_t kTimesliceUsOffset = 0;

}  // namespace

void ClampArguments(const CheckedCall& checked, DriverCall& call) {
  const auto params = call.Bytes(checked.nested_segment);
  const uint64_t timeslice_us = Get<uint64_t>(params, kTimesliceUsOffset);
  Put<uint64_t>(params, kTimesliceUsOffset, std::min(timeslice_us, kTimesliceUsMax));
}

void RestoreArguments(const CheckedCall& checked, const std::vector<uint8_t>& original, DriverCall& call) {
  const uint32_t at = call.segments[checked.nested_segment].offset + kTimesliceUsOffset;
  Put<uint64_t>(call.Bytes(checked.nested_segment), kTimesliceUsOffset, Get<uint64_t>(original, at));
}

std::optional<Refusal> AnswerControl(const HandleTable& handles, const CheckedCall& checked,
                                     const std::vector<uint8_t>& original, DriverCall& call) {
  const uint32_t client = Get<uint32_t>(original, abi::nvos54::kClient);
  const uint32_t object = Get<uint32_t>(original, abi::nvos54::kObject);
  if (!handles.HasObject(static_cast<ClientHandle>(client), static_cast<ObjectHandle>(object)))
    return Refusal::Status(Reason::kUnknownClient, NV_ERR_OBJECT_NOT_FOUND, checked.nested->number);
  call.buffer = original;
  Put<uint32_t>(call.Bytes(0), abi::nvos54::kStatus, NV_OK);
  return std::nullopt;
}

}  // namespace nvshim::broker
