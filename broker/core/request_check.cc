#include "broker/core/request_check.h"

#include <cerrno>

#include "broker/core/rm_calls.h"
#include "proto/abi/host_piece.h"

namespace nvshim::broker {
namespace {

using abi::Direction;
using abi::Shape;
using abi::Spec;

// NVOS54 flags bit 2 and NVOS64 flags bit 0: parameters are FINN-serialised (nvos.h, rmapi serialisation).
constexpr uint32_t kNvos54FinnSerialized = 0x4;
constexpr uint32_t kNvos64FinnSerialized = 0x1;

// A table with what guests get of it.
struct Served {
  const abi::Table& table;
  const Verdicts& verdicts;

  // Why guests do not get `spec`; nothing when they do, which `checked` then knows. What is denied is
  // answered as if it were not there.
  std::optional<Reason> Denies(const Spec* spec, Reason unknown, CheckedCall& checked) const {
    if (spec == nullptr) return unknown;
    checked.verdict = verdicts.Of(*spec);
    checked.would_be_denied |= checked.verdict == Verdict::kShadow;
    return checked.verdict == Verdict::kDeny ? std::optional(Reason::kDeniedByPolicy) : std::nullopt;
  }
};

std::optional<Refusal> CheckPointer(const abi::Pointer& pointer, uint32_t segment, DriverCall& call) {
  const auto bytes = call.Bytes(segment);
  Put<uint64_t>(bytes, pointer.offset, 0);
  const uint32_t child = call.Child(segment, pointer.offset);
  if (child == 0) return std::nullopt;
  if (pointer.direction == Direction::kNull)
    return Refusal::Errno(Reason::kBadSegments, EINVAL, call.command);
  const uint64_t count = pointer.count_offset == abi::kNone ? 1 : Get<uint32_t>(bytes, pointer.count_offset);
  const uint64_t size_bytes = count * pointer.element_size;  // 2^32 * 2^32 at the most: no overflow
  const uint64_t size_bytes_expected = size_bytes < pointer.size_max ? size_bytes : pointer.size_max;
  if (size_bytes > pointer.size_max) {
    // RM gives this status for lists that are too long. Strings that have a limit of their own it fills as
    // far as they go, and so the shim sends that much; the driver must not be told of more than there is.
    if (pointer.element_size != 1 || pointer.size_max >= abi::kEmbeddedSizeMax)
      return Refusal::Status(Reason::kBadSize, NV_ERR_INVALID_ARGUMENT, call.command);
    Put<uint32_t>(bytes, pointer.count_offset, pointer.size_max);
  }
  if (call.segments[child].size_bytes != size_bytes_expected || size_bytes_expected == 0)
    return Refusal::Errno(Reason::kBadSegments, EINVAL, call.command);
  return std::nullopt;
}

std::optional<Refusal> CheckPointers(const Spec& spec, uint32_t segment, DriverCall& call) {
  for (const abi::Pointer& pointer : spec.pointers)
    if (auto refusal = CheckPointer(pointer, segment, call)) return refusal;
  return std::nullopt;
}

// Every segment but 0 hangs at a pointer of the spec that describes its parent, and at one pointer only one
// hangs.
bool SegmentsAreExplained(const CheckedCall& checked, uint32_t params_offset, const DriverCall& call) {
  for (uint32_t i = 1; i < call.segments.size(); ++i) {
    const CallSegment& segment = call.segments[i];
    if (call.Child(segment.parent, segment.pointer_offset) != i) return false;
    if (i == checked.pieces_segment) continue;
    if (i == checked.nested_segment && checked.nested_segment != 0) {
      if (segment.parent != 0 || segment.pointer_offset != params_offset) return false;
      continue;
    }
    const Spec* parent = segment.parent == 0                        ? checked.spec
                         : segment.parent == checked.nested_segment ? checked.nested
                                                                    : nullptr;
    bool explained = false;
    if (parent != nullptr)
      for (const abi::Pointer& pointer : parent->pointers)
        explained |= pointer.offset == segment.pointer_offset;
    if (!explained) return false;
  }
  return true;
}

std::optional<Refusal> CheckControl(const Served& served, DriverCall& call, CheckedCall& checked) {
  const auto bytes = call.Bytes(0);
  const uint32_t cmd = Get<uint32_t>(bytes, abi::nvos54::kCmd);
  const uint32_t params_size_bytes = Get<uint32_t>(bytes, abi::nvos54::kParamsSize);
  Put<uint64_t>(bytes, abi::nvos54::kParams, 0);
  checked.nested = abi::FindControl(served.table, cmd);
  if (const auto reason = served.Denies(checked.nested, Reason::kUnknownControl, checked))
    return Refusal::Status(*reason, NV_ERR_NOT_SUPPORTED, cmd);
  if ((Get<uint32_t>(bytes, abi::nvos54::kFlags) & kNvos54FinnSerialized) != 0)
    return Refusal::Status(Reason::kSerializedParams, NV_ERR_INVALID_ARGUMENT, cmd);
  checked.nested_segment = call.Child(0, abi::nvos54::kParams);
  const uint32_t sent_bytes =
      checked.nested_segment == 0 ? 0 : call.segments[checked.nested_segment].size_bytes;
  if (params_size_bytes < checked.nested->size || params_size_bytes > checked.nested->size_max ||
      sent_bytes != params_size_bytes)
    return Refusal::Status(Reason::kBadSize, NV_ERR_INVALID_ARGUMENT, cmd);
  if (checked.nested_segment == 0) return std::nullopt;
  return CheckPointers(*checked.nested, checked.nested_segment, call);
}

std::optional<Refusal> CheckAlloc(const Served& served, DriverCall& call, CheckedCall& checked) {
  const auto bytes = call.Bytes(0);
  const uint32_t rm_class = Get<uint32_t>(bytes, abi::nvos21::kClass);
  Put<uint64_t>(bytes, abi::nvos21::kAllocParms, 0);
  checked.nested = abi::Find(served.table.classes, rm_class);
  if (const auto reason = served.Denies(checked.nested, Reason::kUnknownClass, checked))
    return Refusal::Status(*reason, NV_ERR_INVALID_CLASS, rm_class);
  if (checked.spec->size == abi::nvos64::kSize &&
      (Get<uint32_t>(bytes, abi::nvos64::kFlags) & kNvos64FinnSerialized) != 0)
    return Refusal::Status(Reason::kSerializedParams, NV_ERR_INVALID_ARGUMENT, rm_class);
  checked.nested_segment = call.Child(0, abi::nvos21::kAllocParms);
  if (checked.nested_segment == 0)
    return checked.nested->size == 0 || checked.nested->params_optional
               ? std::nullopt
               : std::optional(Refusal::Status(Reason::kBadSize, NV_ERR_INVALID_ARGUMENT, rm_class));
  // An empty buffer is not a buffer: what the driver takes for its length stands in the guest's bytes.
  if (checked.nested->size == 0 || call.segments[checked.nested_segment].size_bytes != checked.nested->size)
    return Refusal::Errno(Reason::kBadSegments, EINVAL, rm_class);
  return CheckPointers(*checked.nested, checked.nested_segment, call);
}

std::optional<Refusal> CheckVidHeapControl(const DriverCall& call) {
  const uint32_t function = Get<uint32_t>(call.Bytes(0), kFunctionOffset);
  if (function == NVOS32_FUNCTION_ALLOC_SIZE || function == NVOS32_FUNCTION_FREE ||
      function == NVOS32_FUNCTION_INFO)
    return std::nullopt;
  return Refusal::Status(Reason::kUnknownFunction, NV_ERR_NOT_SUPPORTED, function);
}

// Memory of the guest's own. Its address is the guest's: in the process that makes the call it would name,
// and pin, memory of the broker. In its place hangs the list of pieces; without one the guest has no shim
// that could give its pages away, and hears what a driver says that cannot reach them.
std::optional<Refusal> CheckHostMemory(DriverCall& call, CheckedCall& checked) {
  Put<uint64_t>(call.Bytes(0), kMemoryOffset, 0);
  const uint32_t segment = call.Child(0, kMemoryOffset);
  if (segment == 0)
    return Refusal::Status(Reason::kBadSegments, NV_ERR_NOT_SUPPORTED, NV01_MEMORY_SYSTEM_OS_DESCRIPTOR);
  const uint32_t size_bytes = call.segments[segment].size_bytes;
  if (size_bytes % sizeof(abi::HostPiece) != 0 || size_bytes > abi::kHostPiecesMax * sizeof(abi::HostPiece))
    return Refusal::Errno(Reason::kBadSegments, EINVAL, call.command);
  checked.pieces_segment = segment;
  return std::nullopt;
}

// The classes of NV_ESC_RM_ALLOC, and host memory.
std::optional<Refusal> CheckAllocMemory(const Served& served, DriverCall& call, CheckedCall& checked) {
  const uint32_t rm_class = Get<uint32_t>(call.Bytes(0), kClassOffset);
  if (rm_class == NV01_MEMORY_SYSTEM_OS_DESCRIPTOR) return CheckHostMemory(call, checked);
  const Spec* spec = abi::Find(served.table.classes, rm_class);
  if (const auto reason = served.Denies(spec, Reason::kUnknownClass, checked))
    return Refusal::Status(*reason, NV_ERR_INVALID_CLASS, rm_class);
  return std::nullopt;
}

// The spec of the request number, with segment 0 of exactly its size; or null with the refusal set.
const Spec* FindTopSpec(const Served& served, DeviceClass device_class, const DriverCall& call,
                        CheckedCall& checked) {
  std::optional<Refusal>& refusal = checked.refusal;
  const uint32_t sent_bytes = call.segments.empty() ? 0 : call.segments[0].size_bytes;
  if (device_class == DeviceClass::kUvm || device_class == DeviceClass::kUvmTools) {
    const Spec* spec = abi::Find(served.table.uvm, call.command);
    if (const auto reason = served.Denies(spec, Reason::kUnknownUvmCall, checked))
      refusal = Refusal::Errno(*reason, EINVAL, call.command);
    else if (spec->size != sent_bytes)
      refusal = Refusal::Errno(Reason::kBadSegments, EINVAL, call.command);
    return refusal ? nullptr : spec;
  }
  // As the driver: number and size decide, type and direction do not.
  const uint32_t number = abi::IocNumber(call.command);
  const uint32_t size_bytes = abi::IocSize(call.command);
  const Spec* spec = abi::Find(served.table.escapes, number);
  if (const auto reason = served.Denies(spec, Reason::kUnknownEscape, checked)) {
    refusal = Refusal::Errno(*reason, EINVAL, number);
    return nullptr;
  }
  if (spec->shape == Shape::kArray) {
    if (size_bytes == 0 || size_bytes % spec->size != 0) spec = nullptr;
  } else {
    // Most numbers have one spec. Find takes a size of 0 for "any"; a command that carries none fits no
    // struct.
    if (size_bytes == 0)
      spec = nullptr;
    else if (spec->size != size_bytes)
      spec = abi::Find(served.table.escapes, number, size_bytes);
  }
  if (spec == nullptr || size_bytes != sent_bytes) {
    refusal = Refusal::Errno(Reason::kBadSize, EINVAL, number);
    return nullptr;
  }
  return spec;
}

std::optional<Refusal> CheckShape(const Served& served, DeviceClass device_class, DriverCall& call,
                                  CheckedCall& checked) {
  if (call.segments.empty()) return std::nullopt;
  if (auto refusal = CheckPointers(*checked.spec, 0, call)) return refusal;
  switch (checked.spec->shape) {
    case Shape::kControl:
      return CheckControl(served, call, checked);
    case Shape::kAlloc:
      return CheckAlloc(served, call, checked);
    case Shape::kOpaque:
    case Shape::kArray:
      break;
  }
  if (device_class == DeviceClass::kUvm || device_class == DeviceClass::kUvmTools) return std::nullopt;
  if (checked.spec->number == NV_ESC_RM_VID_HEAP_CONTROL) return CheckVidHeapControl(call);
  if (checked.spec->number == NV_ESC_RM_ALLOC_MEMORY) return CheckAllocMemory(served, call, checked);
  return std::nullopt;
}

}  // namespace

CheckedCall CheckRequest(const abi::Table& table, const Verdicts& verdicts, DeviceClass device_class,
                         DriverCall& call) {
  CheckedCall checked;
  const Served served = {table, verdicts};
  checked.spec = FindTopSpec(served, device_class, call, checked);
  if (checked.spec == nullptr) return checked;
  checked.refusal = CheckShape(served, device_class, call, checked);
  if (checked.refusal) return checked;
  const uint32_t params_offset = abi::nvos21::kAllocParms;
  static_assert(
      abi::nvos21::kAllocParms == abi::nvos54::kParams && abi::nvos64::kAllocParms == abi::nvos54::kParams,
      "one offset serves the three structs");
  if (!SegmentsAreExplained(checked, params_offset, call))
    checked.refusal = Refusal::Errno(Reason::kBadSegments, EINVAL, call.command);
  return checked;
}

}  // namespace nvshim::broker
