// The controls that put objects into a file and take duplicates of them out of it
// (proto/abi/exported_objects.h), with the driver's rules and statuses (os.c, rmobjexportimport.c). An object
// in a file is a duplicate: it stays when the one it was made of is gone, and goes with the file.
#include <utility>
#include <vector>

#include "broker/driver/sim/controls.h"
#include "broker/driver/sim/duplicate.h"
#include "broker/driver/sim/limits.h"
#include "proto/abi/exported_objects.h"

namespace nvshim::broker::sim {
namespace {

using namespace nvshim::abi;

constexpr uint32_t kNoDevice = 32;        // NV_MAX_DEVICES: the object hangs below the client itself
constexpr uint32_t kNoGpuInstance = ~0u;  // there is no MIG
constexpr uint32_t kFlagEmptyFd = 1;      // for the library that clients use, never for the driver

// The ctl file that the fd field at `offset` names, or null.
File* NamedFile(ControlContext& context, size_t offset) {
  File* file = context.machine().FindFile(
      context.escape.call.File(context.params_segment, static_cast<uint32_t>(offset)));
  return file != nullptr && file->node.device_class == DeviceClass::kCtl ? file : nullptr;
}

// Which GPU the object belongs to, as NV0080_ALLOC_PARAMETERS.deviceId counts.
uint32_t DeviceOf(const Client& client, uint32_t handle) {
  for (const Object* object = client.Find(handle); object != nullptr; object = client.Find(object->parent))
    if (object->kind == Kind::kDevice) return object->gpu;
  return kNoDevice;
}

// Makes a file one that objects can be put into.
NvStatus Prepare(ControlContext& context, File& file, uint32_t device, uint32_t max_objects) {
  if (file.exports != nullptr) return NV_ERR_STATE_IN_USE;
  auto exports = std::make_unique<Exports>();
  exports->max_objects = max_objects;
  exports->device_instance = kNoDevice;
  if (device != 0) {
    const Object* object = context.client.Find(device);
    if (object == nullptr) return NV_ERR_OBJECT_NOT_FOUND;
    if (object->kind != Kind::kDevice) return NV_ERR_INVALID_PARAMETER;
    exports->device_instance = object->gpu;
  }
  file.exports = std::move(exports);
  return NV_OK;
}

NvStatus Import(ControlContext& context, uint32_t parent, const Duplicate& duplicate, size_t handle_offset) {
  uint32_t handle = 0;
  const NvStatus status = PutDuplicate(context.machine().tree, context.client, parent,
                                       context.params.U32(handle_offset), duplicate, &handle);
  if (status == NV_OK) context.params.PutU32(handle_offset, handle);
  return status;
}

uint8_t TypeOf(const Duplicate& duplicate) {
  return duplicate.memory->type == MemoryType::kVideo ? import_objects::kTypeVidmem
                                                      : import_objects::kTypeSysmem;
}

// What `numObjects` handles become, before any of them is in the file.
NvStatus TakeAll(ControlContext& context, const Exports& exports, uint32_t count,
                 std::vector<Duplicate>* taken) {
  taken->resize(count);
  for (uint32_t i = 0; i < count; ++i) {
    const uint32_t handle = context.params.U32(export_objects::kObjects + 4 * i);
    if (handle == 0) continue;
    if (const NvStatus status = TakeDuplicate(context.client, handle, &(*taken)[i]); status != NV_OK)
      return status;
    if (DeviceOf(context.client, handle) != exports.device_instance) return NV_ERR_INVALID_PARAMETER;
  }
  return NV_OK;
}

NvStatus PutAll(ControlContext& context, Exports& exports) {
  const uint32_t count = context.params.Get<uint16_t>(export_objects::kCount);
  const uint32_t index = context.params.Get<uint16_t>(export_objects::kIndex);
  if (count > export_objects::kCountMax) return NV_ERR_INVALID_PARAMETER;
  if (count + index > exports.max_objects) return NV_ERR_OUT_OF_RANGE;
  std::vector<Duplicate> taken;
  if (const NvStatus status = TakeAll(context, exports, count, &taken); status != NV_OK) return status;
  size_t& exported = context.machine().exported_objects;
  if (exported + count > kExportedObjectsMax) return NV_ERR_NO_MEMORY;
  exported -= exports.places.size();
  for (uint32_t i = 0; i < count; ++i) {
    if (taken[i].rule == nullptr)
      exports.places.erase(index + i);
    else
      exports.places.insert_or_assign(index + i, std::move(taken[i]));
  }
  exported += exports.places.size();
  return NV_OK;
}

}  // namespace

NvStatus ExportObjectToFd(ControlContext& context) {
  using namespace export_object;
  const Bytes params = context.params;
  if ((params.U32(kFlags) & kFlagEmptyFd) != 0 || params.U32(kType) != kExportObjectTypeRm)
    return NV_ERR_INVALID_PARAMETER;
  Duplicate duplicate;
  NvStatus status = TakeDuplicate(context.client, params.U32(kObject), &duplicate);
  if (status != NV_OK) return status;
  File* file = NamedFile(context, kFd);
  if (file == nullptr) return NV_ERR_INVALID_PARAMETER;
  if (context.machine().exported_objects >= kExportedObjectsMax) return NV_ERR_NO_MEMORY;
  status = Prepare(context, *file, params.U32(kDevice), 1);
  if (status != NV_OK) return status;
  file->exports->places.emplace(0, std::move(duplicate));
  ++context.machine().exported_objects;
  return NV_OK;
}

NvStatus ExportObjectsToFd(ControlContext& context) {
  using namespace export_objects;
  const Bytes params = context.params;
  File* file = NamedFile(context, kFd);
  if (file == nullptr) return NV_ERR_INVALID_PARAMETER;
  const bool is_new = file->exports == nullptr;
  if (is_new) {
    const uint32_t max_objects = params.Get<uint16_t>(kMaxObjects);
    if (max_objects == 0) return NV_ERR_INVALID_PARAMETER;
    if (const NvStatus status = Prepare(context, *file, params.U32(kDevice), max_objects); status != NV_OK)
      return status;
    Bytes(file->exports->metadata).PutBytes(0, params.Sub(kMetadata, kExportMetadataBytes).span());
  }
  const NvStatus status = PutAll(context, *file->exports);
  if (status != NV_OK && is_new) file->exports = nullptr;
  return status;
}

NvStatus ImportObjectFromFd(ControlContext& context) {
  using namespace import_object;
  if (context.params.U32(kType) != kExportObjectTypeRm) return NV_ERR_INVALID_PARAMETER;
  const File* file = NamedFile(context, kFd);
  if (file == nullptr || file->exports == nullptr) return NV_ERR_INVALID_PARAMETER;
  const auto first = file->exports->places.find(0);
  if (first == file->exports->places.end()) return NV_ERR_INVALID_PARAMETER;
  return Import(context, context.params.U32(kParent), first->second, kObject);
}

NvStatus ImportObjectsFromFd(ControlContext& context) {
  using namespace import_objects;
  const Bytes params = context.params;
  const File* file = NamedFile(context, kFd);
  const uint32_t count = params.Get<uint16_t>(kCount), index = params.Get<uint16_t>(kIndex);
  if (file == nullptr || file->exports == nullptr || count > kCountMax) return NV_ERR_INVALID_PARAMETER;
  if (count + index > file->exports->max_objects) return NV_ERR_OUT_OF_RANGE;
  NvStatus status = NV_OK;
  uint32_t done = 0;
  for (; done < count && status == NV_OK; ++done) {
    const auto place = file->exports->places.find(index + done);
    if (place == file->exports->places.end()) {
      context.params.PutU8(kTypes + done, kTypeNone);
      continue;
    }
    // Of what has no address space type, the driver says this before it makes an object.
    status = place->second.memory == nullptr
                 ? NV_ERR_INVALID_OBJECT
                 : Import(context, params.U32(kParent), place->second, kObjects + 4 * done);
    if (status != NV_OK) break;
    context.params.PutU8(kTypes + done, TypeOf(place->second));
  }
  if (status == NV_OK) return NV_OK;
  // As the driver: whatever has these numbers by now goes.
  for (uint32_t i = 0; i < done; ++i)
    if (const uint32_t handle = params.U32(kObjects + 4 * i); handle != 0 && handle != context.client.handle)
      context.machine().tree.Free(context.client, handle);
  return status;
}

NvStatus GetExportObjectInfo(ControlContext& context) {
  const File* file = NamedFile(context, 0);
  if (file == nullptr || file->exports == nullptr) return NV_ERR_INVALID_PARAMETER;
  // {fd, deviceInstance, [gpuInstanceId, from 550 on,] maxObjects (16 bits), metadata}
  constexpr size_t kDevice = 4, kGpuInstance = 8, kSizeWithGpuInstance = 80;
  const size_t rest = context.params.size() == kSizeWithGpuInstance ? kGpuInstance + 4 : kGpuInstance;
  context.params.PutU32(kDevice, file->exports->device_instance);
  if (rest != kGpuInstance) context.params.PutU32(kGpuInstance, kNoGpuInstance);
  context.params.PutU16(rest, static_cast<uint16_t>(file->exports->max_objects));
  context.params.PutBytes(rest + 2, file->exports->metadata);
  return NV_OK;
}

}  // namespace nvshim::broker::sim
