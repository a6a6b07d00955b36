#include "preload/marshal.h"

#include <errno.h>

#include <algorithm>
#include <cstring>

namespace nvshim::preload {

namespace {

// NV_ESC_IOCTL_XFER_CMD (nv-ioctl-numbers.h): the request's number, size and argument, one level down.
// Clients use it for structs that the 14 size bits of a request number cannot tell; nv_ioctl_xfer_t in
// nv-ioctl.h.
constexpr uint32_t kXferNumber = 0xd3;
struct Xfer {
  uint32_t number;
  uint32_t size;
  uint64_t argument;
};
static_assert(sizeof(Xfer) == 16);

constexpr uint32_t kIocSizeMax = 0x3fff;

// No program has memory in its first page: a pointer there is a NULL with an offset.
constexpr uint64_t kFirstAddress = 4096;

template <typename T>
T Load(const GuestBuffer& buffer, uint32_t offset) {
  T value;
  std::memcpy(&value, buffer.address + offset, sizeof(T));
  return value;
}

// The tables and the kernel agree on sizes of at most 64 KiB; `offset + size` cannot overflow 32 bits.
bool Holds(const GuestBuffer& buffer, uint32_t offset, uint32_t size) {
  return uint64_t{offset} + size <= buffer.size_bytes;
}

bool AddOwnField(GatheredCall* call, uint32_t buffer, uint32_t offset, uint32_t size_bytes) {
  if (call->own_count == GatheredCall::kOwnFieldsMax) return false;
  uint32_t at = call->own_count++;
  const auto after = [&](const OwnField& other) {
    return other.buffer > buffer || (other.buffer == buffer && other.offset > offset);
  };
  for (; at > 0 && after(call->own[at - 1]); --at) call->own[at] = call->own[at - 1];
  call->own[at] = {buffer, offset, size_bytes};
  return true;
}

// Adds the buffer that the pointer at `pointer_offset` of `parent` leads to. No buffer for NULL and for no
// bytes.
int AddBuffer(GatheredCall* call, uint32_t parent, uint32_t pointer_offset, uint64_t size_bytes,
              uint32_t* index) {
  *index = 0;
  if (!AddOwnField(call, parent, pointer_offset, sizeof(uint64_t))) return EINVAL;
  const uint64_t address = Load<uint64_t>(call->buffers[parent], pointer_offset);
  if (address == 0 || size_bytes == 0) return 0;
  if (address < kFirstAddress) return EFAULT;
  if (size_bytes > wire::kSegmentSizeBytesMax || call->buffer_count == wire::kSegmentsPerCallMax)
    return EINVAL;
  *index = call->buffer_count++;
  call->buffers[*index] = {reinterpret_cast<uint8_t*>(address), static_cast<uint32_t>(size_bytes), parent,
                           pointer_offset};
  return 0;
}

int AddPointer(GatheredCall* call, uint32_t parent, const abi::Pointer& pointer) {
  const GuestBuffer& buffer = call->buffers[parent];
  if (!Holds(buffer, pointer.offset, sizeof(uint64_t))) return 0;
  if (pointer.direction == abi::Direction::kNull)
    return AddOwnField(call, parent, pointer.offset, sizeof(uint64_t)) ? 0 : EINVAL;
  uint64_t size_bytes = pointer.element_size;
  if (pointer.count_offset != abi::kNone) {
    if (!Holds(buffer, pointer.count_offset, sizeof(uint32_t))) return EINVAL;
    size_bytes *= Load<uint32_t>(buffer, pointer.count_offset);  // 32 x 32 bits
  }
  // What is too long is cut: the driver fills strings as far as it knows them, and answers lists with a
  // status.
  const uint64_t size_max = pointer.size_max == 0 ? wire::kSegmentSizeBytesMax : pointer.size_max;
  uint32_t index;
  return AddBuffer(call, parent, pointer.offset, std::min(size_bytes, size_max), &index);
}

// Follows what `spec` says about the struct in buffer `index`.
int AddFields(GatheredCall* call, uint32_t index, const abi::Spec& spec) {
  for (const abi::Pointer& pointer : spec.pointers)
    if (const int error = AddPointer(call, index, pointer); error != 0) return error;
  for (const abi::FdField& field : spec.fds) {
    const GuestBuffer& buffer = call->buffers[index];
    if (!Holds(buffer, field.offset, sizeof(int))) continue;
    if (call->fd_count == wire::kFilesPerCallMax) return EINVAL;
    if (!AddOwnField(call, index, field.offset, sizeof(int))) return EINVAL;
    call->fds[call->fd_count++] = {index, field.offset, Load<int>(buffer, field.offset), field.use};
  }
  return 0;
}

// The parameters behind an RM_CONTROL. A command without a spec is sent as it is: to know it is the broker's
// business.
int AddControlParams(const abi::Table& table, GatheredCall* call) {
  const GuestBuffer& control = call->buffers[0];
  uint32_t index;
  const int error =
      AddBuffer(call, 0, abi::nvos54::kParams, Load<uint32_t>(control, abi::nvos54::kParamsSize), &index);
  if (error != 0 || index == 0) return error;
  const abi::Spec* spec = abi::Find(table.controls, Load<uint32_t>(control, abi::nvos54::kCmd));
  return spec == nullptr ? 0 : AddFields(call, index, *spec);
}

// The parameters behind an RM_ALLOC. Clients leave paramsSize 0 and the driver goes by the class: so do we.
int AddAllocParams(const abi::Table& table, GatheredCall* call) {
  const GuestBuffer& alloc = call->buffers[0];
  const bool with_rights = alloc.size_bytes == abi::nvos64::kSize;
  const abi::Spec* spec = abi::Find(table.classes, Load<uint32_t>(alloc, abi::nvos21::kClass));
  uint32_t size_bytes =
      Load<uint32_t>(alloc, with_rights ? abi::nvos64::kParamsSize : abi::nvos21::kParamsSize);
  if (size_bytes == 0 && spec != nullptr) size_bytes = spec->size;
  uint32_t index;
  const int error = AddBuffer(call, 0, abi::nvos21::kAllocParms, size_bytes, &index);
  if (error != 0 || index == 0 || spec == nullptr) return error;
  return AddFields(call, index, *spec);
}

const abi::Spec* FindEscape(const abi::Table& table, uint32_t command) {
  if (abi::IocType(command) != abi::kEscapeType) return nullptr;
  const uint32_t size = abi::IocSize(command);
  const abi::Spec* spec = abi::Find(table.escapes, abi::IocNumber(command));
  if (spec == nullptr) return nullptr;
  if (spec->shape == abi::Shape::kArray)
    return size != 0 && spec->size != 0 && size % spec->size == 0 ? spec : nullptr;
  if (spec->size == size) return spec;
  return size == 0 ? nullptr : abi::Find(table.escapes, abi::IocNumber(command), size);
}

// Replaces an NV_ESC_IOCTL_XFER_CMD by the request inside it.
int UnwrapXfer(uint32_t* command, void** argument) {
  if (!abi::IsEscape(*command, kXferNumber)) return 0;
  if (abi::IocSize(*command) != sizeof(Xfer)) return EINVAL;
  if (reinterpret_cast<uint64_t>(*argument) < kFirstAddress) return EFAULT;
  Xfer xfer;
  std::memcpy(&xfer, *argument, sizeof(xfer));
  if (xfer.number > 0xff || xfer.number == kXferNumber || xfer.size > kIocSizeMax) return EINVAL;
  *command = abi::EscapeCommand(xfer.number, xfer.size);
  *argument = reinterpret_cast<void*>(xfer.argument);
  return 0;
}

int AddShape(const abi::Table& table, const abi::Spec& spec, GatheredCall* call) {
  if (const int error = AddFields(call, 0, spec); error != 0) return error;
  switch (spec.shape) {
    case abi::Shape::kControl:
      return AddControlParams(table, call);
    case abi::Shape::kAlloc:
      return AddAllocParams(table, call);
    case abi::Shape::kOpaque:
    case abi::Shape::kArray:
      return 0;
  }
  return EINVAL;
}

}  // namespace

int Gather(const abi::Table& table, DeviceClass device_class, uint32_t command, void* argument,
           GatheredCall* call) {
  const bool is_uvm = device_class == DeviceClass::kUvm || device_class == DeviceClass::kUvmTools;
  if (!is_uvm)
    if (const int error = UnwrapXfer(&command, &argument); error != 0) return error;
  const abi::Spec* spec = is_uvm ? abi::Find(table.uvm, command) : FindEscape(table, command);
  if (spec == nullptr) return EINVAL;
  call->command = command;
  call->buffer_count = call->fd_count = call->own_count = 0;
  const uint32_t size_bytes = is_uvm ? spec->size : abi::IocSize(command);
  if (size_bytes == 0) return 0;
  if (reinterpret_cast<uint64_t>(argument) < kFirstAddress) return EFAULT;
  call->buffers[call->buffer_count++] = {static_cast<uint8_t*>(argument), size_bytes, 0, 0};
  return AddShape(table, *spec, call);
}

}  // namespace nvshim::preload
