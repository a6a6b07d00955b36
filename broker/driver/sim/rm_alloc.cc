// NV_ESC_RM_ALLOC, FREE, DUP_OBJECT and SHARE: making and ending RM objects. Which parameters matter depends
// on the class: memory classes reserve memory, a device chooses its GPU, channels and address spaces name
// what they need.
#include <utility>

#include "broker/driver/sim/duplicate.h"
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
  const abi::Spec* spec = abi::Find(context.machine.table().classes, class_number);
  if (rule == nullptr || spec == nullptr) {
    context.machine.unknowns.Report(NumberSpace::kClass, class_number,
                                    static_cast<uint32_t>(alloc_params.size()));
    return NV_ERR_INVALID_CLASS;
  }
  if (rule->privileged) return NV_ERR_INSUFFICIENT_PERMISSIONS;
  if (rule->per_chip && !ChipHas(*context.machine.gpu(0).profile, class_number)) return NV_ERR_INVALID_CLASS;
  const bool may_be_without = spec->size == 0 || spec->params_optional;
  if (alloc_params.empty() ? !may_be_without : alloc_params.size() != spec->size)
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

// The address space of the object `handle`; null when there is none.
std::shared_ptr<AddressSpace> SpaceOf(const Client& client, uint32_t handle) {
  const Object* object = client.Find(handle);
  return object == nullptr ? nullptr : object->address_space;
}

// NV_CHANNEL_ALLOC_PARAMS
namespace channel_params {
constexpr size_t kObjectError = 0, kGpFifoOffset = 8, kGpFifoEntries = 16, kContextShare = 24, kVaSpace = 28,
                 kUserdMemory = 32, kUserdOffset = 64, kEngineType = 128;
}  // namespace channel_params

// Channels on no engine of their own run on the graphics engine, as RM has it.
uint32_t NotifierOf(uint32_t engine_type) {
  const bool copies = engine_type >= NV2080_ENGINE_TYPE_COPY0 && engine_type <= NV2080_ENGINE_TYPE_COPY9;
  return copies ? NV2080_NOTIFIERS_CE0 + engine_type - NV2080_ENGINE_TYPE_COPY0 : NV2080_NOTIFIERS_GR0;
}

// Without memory for USERD or without an address space nobody can give the channel work: it only exists.
NvStatus InitChannel(EscapeContext& context, Client& client, Object& object, Bytes params) {
  for (size_t offset : {channel_params::kContextShare, channel_params::kVaSpace})
    if (const NvStatus status = NeedAt(context, client, object, params, offset); status != NV_OK)
      return status;
  object.address_space = SpaceOf(client, params.U32(channel_params::kVaSpace));
  if (object.address_space == nullptr)
    object.address_space = SpaceOf(client, params.U32(channel_params::kContextShare));
  if (object.address_space == nullptr) object.address_space = SpaceOf(client, object.parent);
  const uint32_t userd_handle = params.U32(channel_params::kUserdMemory);
  if (userd_handle == 0 || object.address_space == nullptr) return NV_OK;

  const Object* userd = client.Find(userd_handle);
  if (userd == nullptr || userd->memory == nullptr) return NV_ERR_INVALID_OBJECT;
  const uint64_t userd_offset = params.U64(channel_params::kUserdOffset);
  const uint32_t entries = params.U32(channel_params::kGpFifoEntries);
  if (entries == 0 || userd_offset % 4 != 0 || userd->memory->size_bytes < engine::kUserdBytes ||
      userd_offset > userd->memory->size_bytes - engine::kUserdBytes)
    return NV_ERR_INVALID_ARGUMENT;
  object.channel = std::make_shared<SimChannel>(params.U64(channel_params::kGpFifoOffset), entries);
  object.channel->space = object.address_space;
  object.channel->userd = userd->memory;
  object.channel->userd_offset = userd_offset;
  if (const Object* notifier = client.Find(params.U32(channel_params::kObjectError)))
    object.channel->notifier = notifier->memory;
  object.channel->events = client.events;
  object.channel->gpu = object.gpu;
  // A group is on one engine with all its channels.
  const Object* parent = client.Find(object.parent);
  object.channel->group = parent == nullptr ? 0 : parent->channel_group;
  const uint32_t of_group = parent == nullptr ? 0 : parent->engine_type;
  object.channel->interrupt = NotifierOf(of_group != 0 ? of_group : params.U32(channel_params::kEngineType));
  return context.machine.channels.Add(object.channel) ? NV_OK : NV_ERR_INSUFFICIENT_RESOURCES;
}

// NV0005_ALLOC_PARAMETERS of NV01_EVENT_OS_EVENT: no table has the other classes of events, which are for the
// kernel's own clients. What the event is about is its parent (RM overwrites hSrcResource with it).
NvStatus InitEvent(Client& client, Object& object, Bytes params) {
  constexpr size_t kNotifyIndex = 12, kData = 16;
  const uint32_t notify_index = params.U32(kNotifyIndex);
  EventListener listener;
  listener.to_interrupts = (notify_index & NV01_EVENT_NONSTALL_INTR) != 0;
  listener.gpu = object.gpu;
  listener.notifier = Nv0005NotifyIndexIndex(notify_index);
  if (listener.to_interrupts && client.Find(object.parent)->kind != Kind::kSubdevice)
    return NV_ERR_INVALID_ARGUMENT;
  return client.events->Listen(params.U32(kData), std::move(listener), &object.listener);
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
    case Kind::kVaSpace:
      object.address_space = std::make_shared<AddressSpace>(context.machine.backings);
      return NV_OK;
    case Kind::kContextShare:
      object.address_space = SpaceOf(client, alloc_params.U32(0));  // hVASpace
      return NeedAt(context, client, object, alloc_params, 0);
    case Kind::kChannelGroup:
      object.engine_type = alloc_params.U32(12);
      object.channel_group = context.machine.channels.NewGroup();
      object.address_space = SpaceOf(client, alloc_params.U32(8));  // hVASpace
      return NeedAt(context, client, object, alloc_params, 8);
    case Kind::kContextDma:
      return NeedAt(context, client, object, alloc_params, 8);  // hMemory
    case Kind::kEvent:
      return InitEvent(client, object, alloc_params);
    case Kind::kChannel:
      return InitChannel(context, client, object, alloc_params);
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
  Duplicate duplicate;
  NvStatus status = TakeDuplicate(*source_client, params.U32(16), &duplicate);
  uint32_t handle = 0;
  if (status == NV_OK)
    status = PutDuplicate(context.machine.tree, *client, params.U32(4), params.U32(8), duplicate, &handle);
  if (status == NV_OK) params.PutU32(8, handle);
  return status;
}

NvStatus RmShare(EscapeContext& context, Bytes params) {
  Client* client = context.FindClient(params.U32(0));
  if (client == nullptr) return NV_ERR_INVALID_CLIENT;
  return client->Find(params.U32(4)) == nullptr ? NV_ERR_OBJECT_NOT_FOUND : NV_OK;
}

}  // namespace nvshim::broker::sim
