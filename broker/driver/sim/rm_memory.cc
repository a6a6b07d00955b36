// Allocation and CPU mapping of memory. Mapping a memory object installs its memfd as the mmap context of the
// file that the call names; the key that RM calls pLinearAddress is a number that nobody dereferences.
#include "broker/driver/sim/rm_memory.h"

#include <utility>

#include "broker/driver/sim/escapes.h"
#include "broker/driver/sim/limits.h"

namespace nvshim::broker::sim {
namespace {

constexpr uint64_t kPageBytes = 4096;
// Mapping keys: a range of their own, page apart, so that a mix-up with an address is visible.
constexpr uint64_t kMappingKeyBase = 0x6e76'0000'0000;

constexpr uint64_t RoundUp(uint64_t value, uint64_t step) { return (value + step - 1) / step * step; }

// What the two parameter structs and NVOS32 ask for in common.
struct MemoryRequest {
  MemoryType type;
  uint64_t size_bytes;
  bool fixed_address = false;
  uint64_t address = 0;
  // Of virtual memory: where its addresses are set aside; null: nowhere.
  std::shared_ptr<AddressSpace> space = nullptr;
};

// The space of the object `handle`, or for 0 the one that the device has for those who name none. Null when
// there is no such object.
std::shared_ptr<AddressSpace> SpaceFor(Machine& machine, Client& client, const Object& below,
                                       uint32_t handle) {
  if (handle != 0) {
    const Object* object = client.Find(handle);
    return object == nullptr ? nullptr : object->address_space;
  }
  Object* device = client.Find(below.parent);
  while (device != nullptr && device->kind != Kind::kDevice) device = client.Find(device->parent);
  if (device == nullptr) return nullptr;
  if (device->address_space == nullptr)
    device->address_space = std::make_shared<AddressSpace>(machine.backings);
  return device->address_space;
}

NvStatus ReserveAddresses(const MemoryRequest& request, Memory& memory) {
  memory.offset = request.address;
  if (request.space == nullptr) return NV_OK;
  const NvStatus status = request.space->Reserve(request.fixed_address, memory.size_bytes, &memory.offset);
  if (status != NV_OK) return status;
  memory.reservation = std::shared_ptr<void>(
      request.space.get(),
      [space = request.space, base = memory.offset](void* /*space*/) { space->Release(base); });
  return NV_OK;
}

NvStatus GiveMemory(Machine& machine, Object& object, const MemoryRequest& request) {
  if (request.size_bytes == 0 || request.size_bytes > kObjectBytesMax) return NV_ERR_INVALID_LIMIT;
  auto memory = std::make_shared<Memory>();
  memory->type = request.type;
  memory->gpu = object.gpu;
  memory->size_bytes = RoundUp(request.size_bytes, kPageBytes);
  if (request.type == MemoryType::kVideo) {
    memory->charge = VideoCharge(machine.heap(object.gpu), memory->size_bytes);
    if (!memory->charge) return NV_ERR_NO_MEMORY;
    memory->offset = memory->charge.offset();
  } else if (request.type == MemoryType::kVirtual) {
    if (const NvStatus status = ReserveAddresses(request, *memory); status != NV_OK) return status;
  }
  object.memory = std::move(memory);
  return NV_OK;
}

// Virtual memory lives in an address space, and not longer than it.
NvStatus FindSpace(Machine& machine, Client& client, Object& object, uint32_t handle,
                   MemoryRequest* request) {
  request->space = SpaceFor(machine, client, object, handle);
  if (request->space == nullptr) return NV_ERR_OBJECT_NOT_FOUND;
  object.address_space = request->space;
  return handle == 0 ? NV_OK : machine.tree.AddNeed(client, object, handle);
}

MemoryType TypeOf(uint32_t flags, uint32_t attr, Kind kind) {
  if (kind == Kind::kVirtualMemory || (flags & NVOS32_ALLOC_FLAGS_VIRTUAL) != 0) return MemoryType::kVirtual;
  if (kind == Kind::kSystemMemory) return MemoryType::kSystem;
  const bool in_video = kind == Kind::kVideoMemory || NvOs32AttrLocation(attr) == NVOS32_ATTR_LOCATION_VIDMEM;
  return in_video ? MemoryType::kVideo : MemoryType::kSystem;
}

uint32_t ClassOf(MemoryType type) {
  switch (type) {
    case MemoryType::kVideo:
      return NV01_MEMORY_LOCAL_USER;
    case MemoryType::kVirtual:
      return NV50_MEMORY_VIRTUAL;
    default:
      return NV01_MEMORY_SYSTEM;
  }
}

// NVOS32 AllocSize, inside NVOS32_PARAMETERS.
namespace alloc_size {
constexpr size_t kMemory = 44, kFlags = 52, kAttr = 56, kSize = 88, kOffset = 104, kLimit = 112;
}  // namespace alloc_size

NvStatus AllocSize(EscapeContext& context, Client& client, Bytes params) {
  const uint32_t flags = params.U32(alloc_size::kFlags);
  const MemoryType type = TypeOf(flags, params.U32(alloc_size::kAttr), Kind::kOther);
  Object* object = nullptr;
  NvStatus status = context.machine.tree.Allocate(client, params.U32(4), params.U32(alloc_size::kMemory),
                                                  *FindClass(ClassOf(type)), &object);
  if (status != NV_OK) return status;
  MemoryRequest request{.type = type,
                        .size_bytes = params.U64(alloc_size::kSize),
                        .fixed_address = (flags & NVOS32_ALLOC_FLAGS_FIXED_ADDRESS_ALLOCATE) != 0,
                        .address = params.U64(alloc_size::kOffset)};
  if (type == MemoryType::kVirtual)
    status = FindSpace(context.machine, client, *object, params.U32(12), &request);  // hVASpace
  if (status == NV_OK) status = GiveMemory(context.machine, *object, request);
  if (status != NV_OK) {
    context.machine.tree.Free(client, object->handle);
    return status;
  }
  params.PutU32(alloc_size::kMemory, object->handle);
  params.PutU64(alloc_size::kSize, object->memory->size_bytes);
  params.PutU64(alloc_size::kOffset, object->memory->offset);
  params.PutU64(alloc_size::kLimit, object->memory->size_bytes - 1);
  return NV_OK;
}

NvStatus HeapInfo(EscapeContext& context, Client& client, Bytes params) {
  const Object* device = client.Find(params.U32(4));
  if (device == nullptr) return NV_ERR_OBJECT_NOT_FOUND;
  const VideoHeap& heap = context.machine.heap(device->gpu);
  params.PutU64(24, heap.size_bytes());  // total
  params.PutU64(32, heap.free_bytes());  // free
  params.PutU64(48, 0);                  // data.Info.offset and size: the largest free block
  params.PutU64(56, heap.free_bytes());
  params.PutU64(64, 0);  // data.Info.base
  return NV_OK;
}

// The memory of `handle` below any parent, or null with the status to give.
Object* FindMemory(Client& client, uint32_t handle, NvStatus* status) {
  Object* object = client.Find(handle);
  *status = object == nullptr           ? NV_ERR_OBJECT_NOT_FOUND
            : object->memory == nullptr ? NV_ERR_INVALID_OBJECT
                                        : NV_OK;
  return *status == NV_OK ? object : nullptr;
}

// System memory is mapped through a ctl file, video memory and registers through a GPU file.
bool FileFits(const Memory& memory, const File& file) {
  const bool wants_ctl = memory.type == MemoryType::kSystem;
  return (file.node.device_class == DeviceClass::kCtl) == wants_ctl;
}

}  // namespace

NvStatus InitMemoryObject(Machine& machine, Client& client, Object& object, Bytes alloc_params) {
  if (object.kind == Kind::kOsDescMemory)
    return GiveMemory(machine, object, {MemoryType::kHost, alloc_params.U64(24) + 1});
  NvStatus status = NV_OK;
  if (object.class_number == NV01_MEMORY_VIRTUAL) {  // {offset, limit, hVASpace}
    const uint64_t offset = alloc_params.U64(0), limit = alloc_params.U64(8);
    // A limit of 0 asks for the whole address space.
    const uint64_t size = limit > offset ? limit - offset + 1 : kObjectBytesMax;
    MemoryRequest request{.type = MemoryType::kVirtual,
                          .size_bytes = std::min(size, kObjectBytesMax),
                          .fixed_address = true,
                          .address = offset};
    status = FindSpace(machine, client, object, alloc_params.U32(16), &request);
    // Sets nothing aside: addresses are chosen when something is mapped.
    request.space = nullptr;
    return status == NV_OK ? GiveMemory(machine, object, request) : status;
  }
  // NV_MEMORY_ALLOCATION_PARAMS
  const uint32_t flags = alloc_params.U32(8);
  MemoryRequest request{.type = TypeOf(flags, alloc_params.U32(24), object.kind),
                        .size_bytes = alloc_params.U64(64),
                        .fixed_address = (flags & NVOS32_ALLOC_FLAGS_FIXED_ADDRESS_ALLOCATE) != 0,
                        .address = alloc_params.U64(80)};
  if (request.type == MemoryType::kVirtual)
    status = FindSpace(machine, client, object, alloc_params.U32(108), &request);  // hVASpace
  if (status == NV_OK) status = GiveMemory(machine, object, request);
  if (status != NV_OK) return status;
  alloc_params.PutU64(64, object.memory->size_bytes);
  alloc_params.PutU64(80, object.memory->offset);
  alloc_params.PutU64(88, object.memory->size_bytes - 1);
  return NV_OK;
}

namespace {

// The caller's pages are out of reach: it maps those of a host file in their place. Without a list of pieces,
// and a file to carry what is new, there is nothing that both sides see.
NvStatus RegisterHostMemory(EscapeContext& context, Memory& memory) {
  File* const carrier = context.machine.FindFile(context.call.File(0, 48));
  if (carrier == nullptr || carrier == &context.file || carrier->mapping != nullptr)
    return NV_ERR_NOT_SUPPORTED;
  File* const owner = context.machine.FindFile(context.ctl_file);
  if (owner == nullptr) return NV_ERR_INVALID_CLIENT;
  HostFiles::Registration registration =
      owner->host_files.Register(context.Child(0, 24).span(), memory.size_bytes);
  if (registration.error != 0) return HostFiles::StatusOf(registration.error);
  memory.host = std::move(registration.range);
  carrier->host_file = std::move(registration.made);
  return NV_OK;
}

}  // namespace

NvStatus RmAllocMemory(EscapeContext& context, Bytes params) {
  Client* client = context.FindClient(params.U32(0));
  if (client == nullptr) return NV_ERR_INVALID_CLIENT;
  const uint32_t class_number = params.U32(12);
  MemoryType type;
  switch (class_number) {
    case NV01_MEMORY_SYSTEM:
      type = MemoryType::kSystem;
      break;
    case NV01_MEMORY_LOCAL_USER:
      type = MemoryType::kVideo;
      break;
    case NV01_MEMORY_SYSTEM_OS_DESCRIPTOR:
      type = MemoryType::kHost;
      break;
    default:
      return NV_ERR_INVALID_CLASS;
  }
  Object* object = nullptr;
  NvStatus status =
      context.machine.tree.Allocate(*client, params.U32(4), params.U32(8), *FindClass(class_number), &object);
  if (status != NV_OK) return status;
  status = GiveMemory(context.machine, *object, {type, params.U64(32) + 1});  // limit
  if (status == NV_OK && type == MemoryType::kHost) status = RegisterHostMemory(context, *object->memory);
  if (status != NV_OK) {
    context.machine.tree.Free(*client, object->handle);
    return status;
  }
  params.PutU32(8, object->handle);
  return NV_OK;
}

NvStatus RmVidHeapControl(EscapeContext& context, Bytes params) {
  Client* client = context.FindClient(params.U32(0));
  if (client == nullptr) return NV_ERR_INVALID_CLIENT;
  switch (params.U32(8)) {
    case NVOS32_FUNCTION_ALLOC_SIZE:
      return AllocSize(context, *client, params);
    case NVOS32_FUNCTION_INFO:
      return HeapInfo(context, *client, params);
    case NVOS32_FUNCTION_FREE: {
      NvStatus status;
      Object* object = FindMemory(*client, params.U32(44), &status);
      if (object != nullptr) context.machine.tree.Free(*client, object->handle);
      return status;
    }
    default:
      return NV_ERR_NOT_SUPPORTED;
  }
}

NvStatus RmMapMemory(EscapeContext& context, Bytes params) {
  Client* client = context.FindClient(params.U32(0));
  if (client == nullptr) return NV_ERR_INVALID_CLIENT;
  NvStatus status;
  Object* object = FindMemory(*client, params.U32(8), &status);
  if (object == nullptr) return status;
  Memory& memory = *object->memory;
  const uint64_t offset = params.U64(16), length = params.U64(24);
  if (memory.type == MemoryType::kVirtual || memory.type == MemoryType::kHost) return NV_ERR_NOT_SUPPORTED;
  if (length == 0 || offset > memory.size_bytes || length > memory.size_bytes - offset)
    return NV_ERR_INVALID_LIMIT;
  // The guest maps the file at offset 0, so a window further inside cannot be told to it.
  if (offset >= kPageBytes) return NV_ERR_NOT_SUPPORTED;

  File* file = context.machine.FindFile(context.call.File(0, 48));
  if (file == nullptr || !FileFits(memory, *file)) return NV_ERR_INVALID_ARGUMENT;
  if (file->mapping != nullptr) return NV_ERR_STATE_IN_USE;
  if (object->mappings.size() >= kMappingsPerObjectMax) return NV_ERR_INSUFFICIENT_RESOURCES;
  if (memory.backing == nullptr) memory.backing = Backing::Make(memory.size_bytes, context.machine.backings);
  if (memory.backing == nullptr) return NV_ERR_NO_MEMORY;
  file->mapping = memory.backing;
  file->maps_doorbells = memory.type == MemoryType::kRegisters;
  const uint64_t key =
      kMappingKeyBase + context.machine.next_mapping_key++ * kPageBytes + offset % kPageBytes;
  object->mappings.emplace(key, length);
  params.PutU64(32, key);
  return NV_OK;
}

NvStatus RmUnmapMemory(EscapeContext& context, Bytes params) {
  Client* client = context.FindClient(params.U32(0));
  if (client == nullptr) return NV_ERR_INVALID_CLIENT;
  Object* object = client->Find(params.U32(8));
  if (object == nullptr) return NV_ERR_OBJECT_NOT_FOUND;
  return object->mappings.erase(params.U64(16)) != 0 ? NV_OK : NV_ERR_INVALID_OBJECT;
}

NvStatus RmUpdateDeviceMappingInfo(EscapeContext& context, Bytes params) {
  // RM does not check the client by file here; the simulated driver does, as the broker will have.
  Client* client = context.FindClient(params.U32(0));
  if (client == nullptr) return NV_ERR_INVALID_CLIENT;
  Object* object = client->Find(params.U32(8));
  if (object == nullptr) return NV_ERR_OBJECT_NOT_FOUND;
  auto it = object->mappings.find(params.U64(16));
  if (it == object->mappings.end()) return NV_ERR_INVALID_ARGUMENT;
  const uint64_t length = it->second;
  object->mappings.erase(it);
  object->mappings.emplace(params.U64(24), length);
  return NV_OK;
}

}  // namespace nvshim::broker::sim
