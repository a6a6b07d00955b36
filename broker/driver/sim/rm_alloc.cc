// NV_ESC_RM_ALLOC, FREE, DUP_OBJECT and SHARE: making and ending RM objects. Which parameters matter depends
// on the class: memory classes reserve memory, a device chooses its GPU, channels and address spaces name
// what they need.
#include "broker/driver/sim/escapes.h"
#include "broker/driver/sim/limits.h"
#include "broker/driver/sim/rm_memory.h"
#include "proto/abi/spec.h"

namespace nvshim::broker::sim {
namespace {

// Classes that clients try and that no driver without a licence for virtual GPUs has: refused, but not
// unknown.
constexpr uint32_t kNva083GridDisplayless = 0xa083;

bool ChipHas(const Profile& profile, uint32_t class_number) {
  for (uint32_t listed : ClassList(profile.chip))
    if (listed == class_number) return true;
  return false;
}

// The reasons why a class cannot be made, whatever its parent.
NvStatus CheckClass(EscapeContext& context, const ClassRule* rule, uint32_t class_number,
                    Bytes alloc_params) {
  if (class_number == kNva083GridDisplayless) return NV_ERR_INVALID_CLASS;
  if (rule == nullptr) {
    context.machine.unknowns.Report(NumberSpace::kClass, class_number,
                                    static_cast<uint32_t>(alloc_params.size()));
    return NV_ERR_INVALID_CLASS;
  }
  if (rule->privileged) return NV_ERR_INSUFFICIENT_PERMISSIONS;
  if (rule->per_chip && !ChipHas(*context.machine.gpu(0).profile, class_number)) return NV_ERR_INVALID_CLASS;
  if (alloc_params.empty() ? rule->params == Params::kRequired : alloc_params.size() != rule->params_size)
    return NV_ERR_INVALID_ARGUMENT;
  // Devices belong to ctl files, only event objects are made on a device file.
  if (rule->kind != Kind::kEvent && context.file.node.device_class != DeviceClass::kCtl)
    return NV_ERR_INVALID_ARGUMENT;
  return NV_OK;
}

// A handle inside the parameters that the new object cannot outlive; 0 = none.
NvStatus NeedAt(EscapeContext& context, Client& client, Object& object, Bytes alloc_params, size_t offset) {
  const uint32_t needed = alloc_params.U32(offset);
  return needed == 0 ? NV_OK : context.machine.tree.AddNeed(client, object, needed);
}

NvStatus InitDevice(EscapeContext& context, Object& object, Bytes alloc_params) {
  const uint32_t device = alloc_params.U32(0);  // deviceId: a device instance, GPUs in order
  if (device >= context.machine.gpus().size()) return NV_ERR_INVALID_ARGUMENT;
  object.gpu = device;
  return NV_OK;
}

// What a class does beyond existing. On failure the caller frees the object.
NvStatus InitObject(EscapeContext& context, Client& client, Object& object, Bytes alloc_params) {
  switch (object.kind) {
    case Kind::kDevice:
      return InitDevice(context, object, alloc_params);
    case Kind::kSubdevice:
      return alloc_params.U32(0) == 0 ? NV_OK : NV_ERR_INVALID_ARGUMENT;  // subDeviceId
    case Kind::kSystemMemory:
    case Kind::kVideoMemory:
    case Kind::kVirtualMemory:
    case Kind::kOsDescMemory:
      return InitMemoryObject(context.machine, client, object, alloc_params);
    case Kind::kUserMode:
      object.memory = std::make_shared<Memory>();
      object.memory->type = MemoryType::kRegisters;
      object.memory->size_bytes = kUserModeRegionBytes;
      object.memory->gpu = object.gpu;
      return NV_OK;
    case Kind::kContextShare:
      return NeedAt(context, client, object, alloc_params, 0);  // hVASpace
    case Kind::kChannelGroup:
      return NeedAt(context, client, object, alloc_params, 8);  // hVASpace
    case Kind::kContextDma:
      return NeedAt(context, client, object, alloc_params, 8);  // hMemory
    case Kind::kChannel: {
      const NvStatus status = NeedAt(context, client, object, alloc_params, 24);            // hContextShare
      return status != NV_OK ? status : NeedAt(context, client, object, alloc_params, 28);  // hVASpace
    }
    default:
      return NV_OK;
  }
}

NvStatus AllocClient(EscapeContext& context, Bytes params, Bytes alloc_params) {
  if (context.file.node.device_class != DeviceClass::kCtl) return NV_ERR_INVALID_ARGUMENT;
  uint32_t handle = 0;
  const NvStatus status =
      context.machine.tree.NewClient(context.file_id, params.U32(abi::nvos21::kObjectNew), &handle);
  if (status != NV_OK) return status;
  params.PutU32(abi::nvos21::kRoot, handle);
  params.PutU32(abi::nvos21::kObjectNew, handle);
  alloc_params.PutU32(0, handle);
  return NV_OK;
}

bool MayBeDuplicated(Kind kind) {
  switch (kind) {
    case Kind::kSystemMemory:
    case Kind::kVideoMemory:
    case Kind::kVirtualMemory:
    case Kind::kOsDescMemory:
    case Kind::kVaSpace:
    case Kind::kContextShare:
    case Kind::kChannelGroup:
    case Kind::kUserMode:
      return true;
    default:
      return false;
  }
}

}  // namespace

NvStatus RmAlloc(EscapeContext& context, Bytes params) {
  // NVOS21 and NVOS64 agree in all that is read here.
  const uint32_t class_number = params.U32(abi::nvos21::kClass);
  Bytes alloc_params = context.Child(0, abi::nvos21::kAllocParms);
  const ClassRule* rule = FindClass(class_number);
  NvStatus status = CheckClass(context, rule, class_number, alloc_params);
  if (status != NV_OK) return status;
  if (rule->kind == Kind::kClient) return AllocClient(context, params, alloc_params);

  Client* client = context.FindClient(params.U32(abi::nvos21::kRoot));
  if (client == nullptr) return NV_ERR_INVALID_CLIENT;
  Object* object = nullptr;
  status = context.machine.tree.Allocate(*client, params.U32(abi::nvos21::kObjectParent),
                                         params.U32(abi::nvos21::kObjectNew), *rule, &object);
  if (status != NV_OK) return status;
  status = InitObject(context, *client, *object, alloc_params);
  if (status != NV_OK) {
    context.machine.tree.Free(*client, object->handle);
    return status;
  }
  params.PutU32(abi::nvos21::kObjectNew, object->handle);
  return NV_OK;
}

NvStatus RmFree(EscapeContext& context, Bytes params) {
  Client* client = context.FindClient(params.U32(0));  // hRoot
  if (client == nullptr) return NV_ERR_INVALID_CLIENT;
  context.machine.tree.Free(*client, params.U32(8));  // hObjectOld
  return NV_OK;
}

NvStatus RmDupObject(EscapeContext& context, Bytes params) {
  Client* client = context.FindClient(params.U32(0));
  if (client == nullptr) return NV_ERR_INVALID_CLIENT;
  // RM's default share policy lets one process duplicate among all its clients; whose they are is the
  // broker's to check.
  Client* source_client = context.machine.tree.FindAnyClient(params.U32(12));
  if (source_client == nullptr) return NV_ERR_INVALID_CLIENT;
  const Object* source = source_client->Find(params.U32(16));
  if (source == nullptr) return NV_ERR_OBJECT_NOT_FOUND;
  const ClassRule* rule = FindClass(source->class_number);
  if (rule == nullptr || !MayBeDuplicated(source->kind)) return NV_ERR_INVALID_ARGUMENT;

  const std::shared_ptr<Memory> memory = source->memory;
  const uint32_t gpu = source->gpu;
  Object* object = nullptr;
  const NvStatus status =
      context.machine.tree.Allocate(*client, params.U32(4), params.U32(8), *rule, &object);
  if (status != NV_OK) return status;
  object->memory = memory;
  object->gpu = gpu;
  params.PutU32(8, object->handle);
  return NV_OK;
}

NvStatus RmShare(EscapeContext& context, Bytes params) {
  Client* client = context.FindClient(params.U32(0));
  if (client == nullptr) return NV_ERR_INVALID_CLIENT;
  return client->Find(params.U32(4)) == nullptr ? NV_ERR_OBJECT_NOT_FOUND : NV_OK;
}

}  // namespace nvshim::broker::sim
