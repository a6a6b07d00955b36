// Requests that keep state: GPUs, ranges, range groups. The rest of the ABI table's requests are hints about
// placement and channels; with no pages to place they succeed.
#include "broker/driver/sim/uvm.h"

#include <errno.h>

#include <algorithm>

#include "broker/driver/sim/limits.h"

namespace nvshim::broker::sim {
namespace {

constexpr uint32_t UVM_CREATE_RANGE_GROUP = 23, UVM_DESTROY_RANGE_GROUP = 24, UVM_REGISTER_GPU_VASPACE = 25,
                   UVM_UNREGISTER_GPU_VASPACE = 26, UVM_SET_RANGE_GROUP = 31,
                   UVM_MAP_EXTERNAL_ALLOCATION = 33, UVM_FREE = 34, UVM_REGISTER_GPU = 37,
                   UVM_UNREGISTER_GPU = 38, UVM_PAGEABLE_MEM_ACCESS = 39,
                   UVM_MAP_DYNAMIC_PARALLELISM_REGION = 65, UVM_UNMAP_EXTERNAL = 66,
                   UVM_ALLOC_SEMAPHORE_POOL = 68, UVM_PAGEABLE_MEM_ACCESS_ON_GPU = 70,
                   UVM_POPULATE_PAGEABLE = 71, UVM_VALIDATE_VA_RANGE = 72, UVM_CREATE_EXTERNAL_RANGE = 73,
                   UVM_MM_INITIALIZE = 75, UVM_INITIALIZE = 0x30000001, UVM_DEINITIALIZE = 0x30000002;

// UVM_INIT_FLAGS_DISABLE_HMM and _MULTI_PROCESS_SHARING_MODE; the broker forces the latter.
constexpr uint64_t kInitFlagsKnown = 0x3, kInitFlagMultiProcess = 0x2;

// UvmGpuMappingAttributes, and the fields before and after the array of them in UVM_MAP_EXTERNAL_ALLOCATION.
constexpr size_t kGpuAttributesBytes = 36, kMapFixedBytes = 48;

GpuUuid UuidAt(Bytes params, size_t offset) { return params.Get<GpuUuid>(offset); }

NvStatus Initialize(EscapeContext& context, Bytes params) {
  const uint64_t flags = params.U64(0);
  if ((flags & ~kInitFlagsKnown) != 0) return NV_ERR_INVALID_ARGUMENT;
  if (context.file.uvm == nullptr) context.file.uvm = std::make_unique<UvmSpace>();
  context.file.uvm->multi_process = (flags & kInitFlagMultiProcess) != 0;
  return NV_OK;
}

// {uvmFd}: ties a second file to the memory of the process that initialised the first. In multi-process mode,
// which the broker forces, there is no such process.
NvStatus MmInitialize(EscapeContext& context) {
  const File* target = context.machine.FindFile(context.call.File(0, 0));
  if (target == nullptr || target->node.device_class != DeviceClass::kUvm || target->uvm == nullptr)
    return NV_ERR_INVALID_ARGUMENT;
  return target->uvm->multi_process ? NV_WARN_NOTHING_TO_DO : NV_OK;
}

NvStatus RegisterGpu(EscapeContext& context, UvmSpace& space, Bytes params) {
  const GpuUuid uuid = UuidAt(params, 0);
  if (!context.machine.HasUuid(uuid)) return NV_ERR_GPU_UUID_NOT_FOUND;
  space.gpus.insert(uuid);
  params.PutU8(16, 0);     // numaEnabled
  params.PutU32(20, ~0u);  // numaNodeId
  return NV_OK;
}

NvStatus RegisterVaspace(EscapeContext& context, UvmSpace& space, Bytes params) {
  const GpuUuid uuid = UuidAt(params, 0);
  if (!space.gpus.contains(uuid)) return NV_ERR_INVALID_ARGUMENT;
  Client* client = context.machine.tree.FindAnyClient(params.U32(20));
  if (client == nullptr) return NV_ERR_INVALID_CLIENT;
  const Object* vaspace = client->Find(params.U32(24));
  if (vaspace == nullptr || vaspace->kind != Kind::kVaSpace) return NV_ERR_OBJECT_NOT_FOUND;
  return space.AddVaspace(uuid, vaspace->address_space);
}

NvStatus MapExternal(EscapeContext& context, UvmSpace& space, Bytes params) {
  if (!space.Contains(params.U64(0), params.U64(8))) return NV_ERR_INVALID_ADDRESS;
  Client* client = context.machine.tree.FindAnyClient(params.U32(params.size() - 12));  // hClient
  if (client == nullptr) return NV_ERR_INVALID_CLIENT;
  const Object* object = client->Find(params.U32(params.size() - 8));  // hMemory
  if (object == nullptr || object->memory == nullptr) return NV_ERR_OBJECT_NOT_FOUND;
  const uint64_t count = params.U64(params.size() - 24);  // gpuAttributesCount
  if (count == 0 || count > (params.size() - kMapFixedBytes) / kGpuAttributesBytes)
    return NV_ERR_INVALID_ARGUMENT;
  for (uint64_t i = 0; i < count; ++i) {
    AddressSpace* gpu_space = space.FindVaspace(UuidAt(params, 24 + i * kGpuAttributesBytes));
    if (gpu_space == nullptr) return NV_ERR_INVALID_ARGUMENT;
    const NvStatus status = gpu_space->Map(params.U64(0), params.U64(8), object->memory, params.U64(16));
    if (status != NV_OK) return status;
  }
  return NV_OK;
}

NvStatus UnmapExternal(UvmSpace& space, Bytes params) {
  if (!space.Contains(params.U64(0), params.U64(8))) return NV_ERR_INVALID_ADDRESS;
  AddressSpace* gpu_space = space.FindVaspace(UuidAt(params, 16));
  if (gpu_space == nullptr) return NV_ERR_INVALID_ARGUMENT;
  gpu_space->Unmap(params.U64(0), params.U64(8));
  return NV_OK;
}

// Memory that processor and GPUs see at the same address: a piece of the file itself.
NvStatus AllocSemaphorePool(EscapeContext& context, UvmSpace& space, Bytes params) {
  const uint64_t base = params.U64(0), length = params.U64(8);
  if (base > kUvmFileBytes || length > kUvmFileBytes - base) return NV_ERR_INVALID_ADDRESS;
  NvStatus status = space.AddRange(base, length);
  if (status != NV_OK) return status;
  auto memory = std::make_shared<Memory>();
  memory->size_bytes = length;
  memory->backing = context.machine.UvmBacking(context.file);
  memory->backing_offset = base;
  if (memory->backing == nullptr) status = NV_ERR_NO_MEMORY;
  for (auto it = space.vaspaces().begin(); status == NV_OK && it != space.vaspaces().end(); ++it)
    status = it->second->Map(base, length, memory, 0);
  if (status != NV_OK) space.RemoveRange(base);
  return status;
}

// Everything that needs an initialised file.
NvStatus RunOnSpace(EscapeContext& context, UvmSpace& space, Bytes params) {
  switch (context.call.command) {
    case UVM_CREATE_RANGE_GROUP: {
      uint64_t id = 0;
      const NvStatus status = space.AddGroup(&id);
      if (status == NV_OK) params.PutU64(0, id);
      return status;
    }
    case UVM_DESTROY_RANGE_GROUP:
      return space.RemoveGroup(params.U64(0));
    case UVM_SET_RANGE_GROUP:
      return params.U64(0) == 0 || space.HasGroup(params.U64(0)) ? NV_OK : NV_ERR_INVALID_ARGUMENT;
    case UVM_REGISTER_GPU:
      return RegisterGpu(context, space, params);
    case UVM_UNREGISTER_GPU:
      return space.gpus.erase(UuidAt(params, 0)) != 0 ? NV_OK : NV_ERR_INVALID_ARGUMENT;
    case UVM_REGISTER_GPU_VASPACE:
      return RegisterVaspace(context, space, params);
    case UVM_UNREGISTER_GPU_VASPACE:
      return space.RemoveVaspace(UuidAt(params, 0));
    case UVM_CREATE_EXTERNAL_RANGE:
    case UVM_MAP_DYNAMIC_PARALLELISM_REGION:
      return space.AddRange(params.U64(0), params.U64(8));
    case UVM_ALLOC_SEMAPHORE_POOL:
      return AllocSemaphorePool(context, space, params);
    case UVM_UNMAP_EXTERNAL:
      return UnmapExternal(space, params);
    case UVM_FREE:
      return space.RemoveRange(params.U64(0));
    case UVM_MAP_EXTERNAL_ALLOCATION:
      return MapExternal(context, space, params);
    case UVM_VALIDATE_VA_RANGE:
      return space.Contains(params.U64(0), params.U64(8)) ? NV_OK : NV_ERR_INVALID_ADDRESS;
    case UVM_PAGEABLE_MEM_ACCESS:
      params.PutU8(0, 0);
      return NV_OK;
    case UVM_PAGEABLE_MEM_ACCESS_ON_GPU:
      params.PutU8(16, 0);
      return NV_OK;
    case UVM_POPULATE_PAGEABLE:
      return NV_ERR_NOT_SUPPORTED;
    default:
      return NV_OK;
  }
}

}  // namespace

int RunUvm(EscapeContext& context, const abi::Table& table) {
  if (context.call.command == UVM_DEINITIALIZE)
    return 0;  // a no-op in the module too: the last close ends the space
  Bytes params(context.call.Bytes(0));
  const abi::Spec* spec = abi::Find(table.uvm, context.call.command);
  if (spec == nullptr) {
    context.machine.unknowns.Report(NumberSpace::kUvm, context.call.command,
                                    static_cast<uint32_t>(params.size()));
    return EINVAL;
  }
  if (params.size() != spec->size) return EINVAL;
  NvStatus status;
  if (context.call.command == UVM_INITIALIZE) {
    status = Initialize(context, params);
  } else if (context.call.command == UVM_MM_INITIALIZE) {
    status = MmInitialize(context);
  } else if (context.file.uvm == nullptr) {
    status = NV_ERR_ILLEGAL_ACTION;
  } else {
    status = RunOnSpace(context, *context.file.uvm, params);
  }
  if (spec->status_offset != abi::kNone) params.PutU32(spec->status_offset, status);
  return 0;
}

}  // namespace nvshim::broker::sim
