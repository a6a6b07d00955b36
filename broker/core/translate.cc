#include "broker/core/translate.h"

#include <cstring>
#include <span>
#include <utility>

#include "broker/core/rm_calls.h"

namespace nvshim::broker {
namespace {

// The client must be this file's, or that of the ctl file it is registered to: the driver's own rule
// (rmclientValidate), which has to hold before the broker's one process speaks for everybody.
bool MayUse(const HandleTable::ClientView& client, const File& file) {
  return client.owner == file.id ||
         (file.registered_ctl != FileId::kNone && client.owner == file.registered_ctl);
}

bool IsUvm(const File& file) {
  return file.node.device_class == DeviceClass::kUvm || file.node.device_class == DeviceClass::kUvmTools;
}

// A guest shares with clients of its own. What it wants to share with others it shares with all clients of
// the process that makes the driver's calls: on the kernel driver these are the guest's. A policy that is one
// more condition lets nobody in.
std::optional<Refusal> TranslateSharePolicy(const HandleTable& handles, const abi::Spec& spec,
                                            std::span<uint8_t> bytes) {
  using namespace abi::share_policy;
  const auto policy = bytes.subspan(spec.share_policy_offset, kSize);
  const auto type = Get<uint16_t>(policy, kType);
  const uint32_t target = Get<uint32_t>(policy, kTarget);
  Put<uint32_t>(policy, kTarget, 0);
  if (type == kTypeClient) {
    const auto client = handles.FindClient(target);
    if (!client) return Refusal::Status(Reason::kUnknownClient, NV_ERR_INVALID_CLIENT, target);
    Put<uint32_t>(policy, kTarget, static_cast<uint32_t>(client->real));
  } else if (type != kTypeNone && type < kTypeCount && (policy[kAction] & kActionRequire) == 0) {
    Put<uint16_t>(policy, kType, kTypePid);
  }
  return std::nullopt;
}

std::optional<Refusal> TranslateTop(const HandleTable& handles, const File& file, const abi::Spec& spec,
                                    std::span<uint8_t> bytes) {
  for (size_t i = 0; i < spec.clients.size; ++i) {
    const uint32_t guest_value = Get<uint32_t>(bytes, spec.clients.data[i]);
    // UVM takes 0 for "no client": UVM_REGISTER_GPU of a whole GPU.
    if (guest_value == 0 && IsUvm(file)) continue;
    const auto client = handles.FindClient(guest_value);
    const bool issuing = i == 0 && !IsUvm(file);
    if (!client || (issuing && !MayUse(*client, file)))
      return Refusal::Status(Reason::kUnknownClient, NV_ERR_INVALID_CLIENT, guest_value);
    Put<uint32_t>(bytes, spec.clients.data[i], static_cast<uint32_t>(client->real));
    if (i != 0) continue;
    for (uint16_t object : spec.objects)
      if (Get<uint32_t>(bytes, object) == guest_value)
        Put<uint32_t>(bytes, object, static_cast<uint32_t>(client->real));
  }
  if (spec.share_policy_offset == abi::kNone) return std::nullopt;
  return TranslateSharePolicy(handles, spec, bytes);
}

// `issuer` is the client of the call, in the guest's numbering.
std::optional<Refusal> TranslateNested(const HandleTable& handles, const abi::Spec& spec, uint32_t issuer,
                                       std::span<uint8_t> bytes) {
  for (uint16_t offset : spec.clients) {
    const uint32_t guest_value = Get<uint32_t>(bytes, offset);
    if (guest_value == 0) continue;  // RM: "myself" or none
    const auto client = handles.FindClient(guest_value);
    if (!client) return Refusal::Status(Reason::kUnknownClient, NV_ERR_INVALID_CLIENT, guest_value);
    Put<uint32_t>(bytes, offset, static_cast<uint32_t>(client->real));
  }
  for (uint16_t object : spec.objects)
    if (Get<uint32_t>(bytes, object) == issuer)
      Put<uint32_t>(bytes, object, static_cast<uint32_t>(handles.FindClient(issuer)->real));
  if (spec.share_policy_offset == abi::kNone) return std::nullopt;
  return TranslateSharePolicy(handles, spec, bytes);
}

// The number of an object that the call makes, or that the heap frees; kNone when it does neither.
uint16_t OwnObjectOffset(const CheckedCall& checked, const DriverCall& call) {
  if (IsEscape(checked, NV_ESC_RM_VID_HEAP_CONTROL)) {
    const uint32_t function = Get<uint32_t>(call.Bytes(0), kFunctionOffset);
    return function == NVOS32_FUNCTION_ALLOC_SIZE || function == NVOS32_FUNCTION_FREE ? kHeapObjectOffset
                                                                                      : abi::kNone;
  }
  return MakesObject(checked, call) ? kObjectOffset : abi::kNone;
}

bool HasObject(const abi::Spec& spec, std::span<const uint8_t> bytes, uint32_t object) {
  for (uint16_t offset : spec.objects)
    if (Get<uint32_t>(bytes, offset) == object) return true;
  return false;
}

// A client is its own root object, under two numbers here: the guest's, which is translated where the spec
// says `objects`, and the driver's, which the guest may guess but not use: it would free the client behind
// the table's back. Nor may an object be made or freed on the heap under either: the table takes that for the
// client.
std::optional<Refusal> CheckClientAsObject(const HandleTable& handles, const CheckedCall& checked,
                                           const DriverCall& call) {
  const abi::Spec& spec = *checked.spec;
  if (spec.clients.size == 0) return std::nullopt;
  const auto bytes = call.Bytes(0);
  const uint32_t issuer = Get<uint32_t>(bytes, spec.clients.data[0]);
  const auto client = handles.FindClient(issuer);
  if (!client) return std::nullopt;  // TranslateTop refuses it
  const auto real = static_cast<uint32_t>(client->real);
  if (real != issuer && (HasObject(spec, bytes, real) ||
                         (checked.nested_segment != 0 && checked.nested->objects.size != 0 &&
                          HasObject(*checked.nested, call.Bytes(checked.nested_segment), real))))
    return Refusal::Status(Reason::kUnknownClient, NV_ERR_OBJECT_NOT_FOUND, real);
  const uint16_t own_offset = OwnObjectOffset(checked, call);
  const uint32_t own = own_offset == abi::kNone ? 0 : Get<uint32_t>(bytes, own_offset);
  if (own == 0 || (own != issuer && own != real)) return std::nullopt;
  return Refusal::Status(Reason::kUnknownClient,
                         MakesObject(checked, call) ? NV_ERR_INSERT_DUPLICATE_NAME : NV_ERR_OBJECT_NOT_FOUND,
                         own);
}

void RestoreField(const std::vector<uint8_t>& original, DriverCall& call, uint32_t segment, uint32_t offset,
                  uint32_t width) {
  const uint32_t at = call.segments[segment].offset + offset;
  std::memcpy(call.buffer.data() + at, original.data() + at, width);
}

void RestoreSegment(const abi::Spec& spec, const std::vector<uint8_t>& original, DriverCall& call,
                    uint32_t segment) {
  for (const abi::Pointer& pointer : spec.pointers) {
    RestoreField(original, call, segment, pointer.offset, 8);
    if (pointer.direction == abi::Direction::kIn)
      if (const uint32_t child = call.Child(segment, pointer.offset); child != 0)
        RestoreField(original, call, child, 0, call.segments[child].size_bytes);
    if (pointer.count_offset == abi::kNone) continue;
    // request_check lowers the count of a string to what the driver takes.
    const uint8_t* count = original.data() + call.segments[segment].offset + pointer.count_offset;
    if (Get<uint32_t>({count, 4}, 0) > pointer.size_max / pointer.element_size)
      RestoreField(original, call, segment, pointer.count_offset, 4);
  }
  for (const abi::FdField& fd : spec.fds) RestoreField(original, call, segment, fd.offset, 4);
  for (uint16_t client : spec.clients) RestoreField(original, call, segment, client, 4);
  for (uint16_t object : spec.objects) RestoreField(original, call, segment, object, 4);
  if (spec.share_policy_offset != abi::kNone)
    RestoreField(original, call, segment, spec.share_policy_offset, abi::share_policy::kSize);
}

}  // namespace

bool MakesClient(const CheckedCall& checked) {
  if (!IsEscape(checked, NV_ESC_RM_ALLOC) || checked.nested == nullptr) return false;
  const uint32_t rm_class = checked.nested->number;
  return rm_class == NV01_ROOT || rm_class == NV01_ROOT_NON_PRIV || rm_class == NV01_ROOT_CLIENT;
}

bool MakesObject(const CheckedCall& checked, const DriverCall& call) {
  if (IsEscape(checked, NV_ESC_RM_VID_HEAP_CONTROL))
    return Get<uint32_t>(call.Bytes(0), kFunctionOffset) == NVOS32_FUNCTION_ALLOC_SIZE;
  return !MakesClient(checked) &&
         (IsEscape(checked, NV_ESC_RM_ALLOC) || IsEscape(checked, NV_ESC_RM_DUP_OBJECT) ||
          IsEscape(checked, NV_ESC_RM_ALLOC_MEMORY));
}

std::optional<Refusal> ToDriver(const HandleTable& handles, const File& file, const CheckedCall& checked,
                                DriverCall& call, uint32_t* wanted_client) {
  *wanted_client = 0;
  if (call.segments.empty()) return std::nullopt;
  const auto bytes = call.Bytes(0);
  if (MakesClient(checked)) {
    // The driver chooses: a wished-for number is one of the guest's own numbering.
    *wanted_client = Get<uint32_t>(bytes, kObjectOffset);
    for (uint32_t offset : {0u, kParentOffset, kObjectOffset}) Put<uint32_t>(bytes, offset, 0);
    if (checked.nested_segment != 0) Put<uint32_t>(call.Bytes(checked.nested_segment), 0, 0);
    return std::nullopt;
  }
  if (auto refusal = CheckClientAsObject(handles, checked, call)) return refusal;
  const uint32_t issuer =
      checked.nested_segment == 0 ? 0 : Get<uint32_t>(bytes, checked.spec->clients.data[0]);
  if (auto refusal = TranslateTop(handles, file, *checked.spec, bytes)) return refusal;
  if (checked.nested_segment == 0) return std::nullopt;
  return TranslateNested(handles, *checked.nested, issuer, call.Bytes(checked.nested_segment));
}

bool IsCurrent(const HandleTable& handles, const CheckedCall& checked, const std::vector<uint8_t>& original,
               const DriverCall& call) {
  for (uint16_t offset : checked.spec->clients) {
    const auto client = handles.FindClient(Get<uint32_t>(original, call.segments[0].offset + offset));
    if (!client || static_cast<uint32_t>(client->real) != Get<uint32_t>(call.Bytes(0), offset)) return false;
  }
  return true;
}

void ToGuest(const CheckedCall& checked, const std::vector<uint8_t>& original, bool succeeded,
             DriverCall& call) {
  if (call.segments.empty()) return;
  RestoreSegment(*checked.spec, original, call, 0);
  if (checked.spec->shape == abi::Shape::kControl || checked.spec->shape == abi::Shape::kAlloc)
    RestoreField(original, call, 0, abi::nvos21::kAllocParms, 8);
  if (checked.nested_segment != 0) RestoreSegment(*checked.nested, original, call, checked.nested_segment);
  if (IsEscape(checked, NV_ESC_RM_ALLOC_MEMORY) &&
      Get<uint32_t>(call.Bytes(0), kClassOffset) == NV01_MEMORY_SYSTEM_OS_DESCRIPTOR)
    RestoreField(original, call, 0, kMemoryOffset, 8);
  if (!MakesClient(checked) || succeeded) return;
  RestoreField(original, call, 0, kObjectOffset, 4);
  if (checked.nested_segment != 0) RestoreField(original, call, checked.nested_segment, 0, 4);
}

bool Succeeded(const CheckedCall& checked, int error, const DriverCall& call) {
  if (error != 0) return false;
  if (checked.spec->status_offset == abi::kNone) return true;
  return Get<uint32_t>(call.Bytes(0), checked.spec->status_offset) == NV_OK;
}

void Record(HandleTable& handles, const CheckedCall& checked, const std::vector<uint8_t>& original,
            Origin origin, DriverCall& call) {
  if (call.segments.empty()) return;
  const auto bytes = call.Bytes(0);
  const std::span<const uint8_t> guest_bytes(original.data() + call.segments[0].offset, bytes.size());
  if (MakesClient(checked)) {
    handles.AddClient(origin.client, static_cast<RealClientHandle>(Get<uint32_t>(bytes, kObjectOffset)),
                      origin.file, origin.pid, std::move(origin.charges->object));
    Put<uint32_t>(bytes, kObjectOffset, static_cast<uint32_t>(origin.client));
    if (checked.nested_segment != 0)
      Put<uint32_t>(call.Bytes(checked.nested_segment), 0, static_cast<uint32_t>(origin.client));
    return;
  }
  if (checked.spec->clients.size == 0) return;
  const auto issuer = static_cast<ClientHandle>(Get<uint32_t>(guest_bytes, checked.spec->clients.data[0]));
  const auto parent = [&] { return static_cast<ObjectHandle>(Get<uint32_t>(guest_bytes, kParentOffset)); };
  const auto made = [&](uint32_t offset) { return static_cast<ObjectHandle>(Get<uint32_t>(bytes, offset)); };
  if (IsEscape(checked, NV_ESC_RM_FREE)) {
    handles.Free(issuer, static_cast<ObjectHandle>(Get<uint32_t>(guest_bytes, kObjectOffset)));
  } else if (IsEscape(checked, NV_ESC_RM_VID_HEAP_CONTROL)) {
    const uint32_t function = Get<uint32_t>(guest_bytes, kFunctionOffset);
    if (function == NVOS32_FUNCTION_ALLOC_SIZE)
      handles.AddObject(issuer, made(kHeapObjectOffset), parent(), NV01_MEMORY_LOCAL_USER,
                        std::move(*origin.charges));
    else if (function == NVOS32_FUNCTION_FREE)
      handles.Free(issuer, static_cast<ObjectHandle>(Get<uint32_t>(guest_bytes, kHeapObjectOffset)));
  } else if (IsEscape(checked, NV_ESC_RM_DUP_OBJECT)) {
    const auto source = static_cast<ClientHandle>(Get<uint32_t>(guest_bytes, kSourceClientOffset));
    origin.charges->memory =
        handles.MemoryOf(source, static_cast<ObjectHandle>(Get<uint32_t>(bytes, kSourceObjectOffset)));
    handles.AddObject(issuer, made(kObjectOffset), parent(), kDuplicate, std::move(*origin.charges));
  } else if (MakesObject(checked, call)) {
    handles.AddObject(issuer, made(kObjectOffset), parent(), Get<uint32_t>(bytes, kClassOffset),
                      std::move(*origin.charges));
  }
}

}  // namespace nvshim::broker
