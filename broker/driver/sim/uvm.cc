// The table of requests, with the reason for each that answers NV_OK and does nothing, and the functions of
// those that keep state: GPUs, ranges, range groups.
#include "broker/driver/sim/uvm.h"

#include <errno.h>

#include <algorithm>

#include "broker/driver/sim/limits.h"
#include "proto/abi/spec.h"

namespace nvshim::broker::sim {
namespace {

constexpr uint32_t UVM_MM_INITIALIZE = 75, UVM_INITIALIZE = 0x30000001, UVM_DEINITIALIZE = 0x30000002;

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

NvStatus UnmapExternal(EscapeContext& /*context*/, UvmSpace& space, Bytes params) {
  if (!space.Contains(params.U64(0), params.U64(8))) return NV_ERR_INVALID_ADDRESS;
  AddressSpace* gpu_space = space.FindVaspace(UuidAt(params, 16));
  if (gpu_space == nullptr) return NV_ERR_INVALID_ARGUMENT;
  gpu_space->Unmap(params.U64(0), params.U64(8));
  return NV_OK;
}

// Memory that processor and GPUs see at the same address: a piece of the file itself.
NvStatus AddSharedRange(EscapeContext& context, UvmSpace& space, uint64_t base, uint64_t length,
                        bool managed) {
  if (base > kUvmFileBytes || length > kUvmFileBytes - base) return NV_ERR_INVALID_ADDRESS;
  auto memory = std::make_shared<Memory>();
  memory->size_bytes = length;
  memory->backing = context.machine.UvmBacking(context.file);
  memory->backing_offset = base;
  if (memory->backing == nullptr) return NV_ERR_NO_MEMORY;
  return space.AddRange(base, length, std::move(memory), managed);
}

NvStatus AllocSemaphorePool(EscapeContext& context, UvmSpace& space, Bytes params) {
  return AddSharedRange(context, space, params.U64(0), params.U64(8), false);
}

// libcuda asks right after it has mapped managed memory, and maps again until the answer is NV_OK. The driver
// does not see the mmap, and takes the question for the news of it.
NvStatus ValidateVaRange(EscapeContext& context, UvmSpace& space, Bytes params) {
  if (space.Contains(params.U64(0), params.U64(8))) return NV_OK;
  return AddSharedRange(context, space, params.U64(0), params.U64(8), true);
}

// Nothing moves, but whoever asked for it without waiting is told by a semaphore that it is over.
NvStatus Migrate(EscapeContext& context, UvmSpace& space, Bytes params) {
  constexpr uint32_t kAsync = 1;  // UVM_MIGRATE_FLAG_ASYNC
  const uint64_t length = params.U64(8), semaphore = params.U64(40);
  const bool asynchronous = (params.U32(32) & kAsync) != 0;
  // A length of 0 asks for the semaphore alone.
  const bool moves = length != 0 || !asynchronous || semaphore == 0;
  if (moves && !space.Contains(params.U64(0), length)) return NV_ERR_INVALID_ADDRESS;
  if (semaphore == 0) return NV_OK;
  if (!asynchronous) return NV_ERR_INVALID_ARGUMENT;
  uint64_t offset = 0;
  Memory* pool = space.FindPool(semaphore, &offset);
  if (pool == nullptr || semaphore % sizeof(uint32_t) != 0) return NV_ERR_INVALID_ADDRESS;
  const std::span<uint8_t> bytes = pool->Bytes(context.machine.backings);
  if (bytes.empty()) return NV_ERR_NO_MEMORY;
  __atomic_store_n(reinterpret_cast<uint32_t*>(bytes.data() + offset), params.U32(48), __ATOMIC_RELEASE);
  return NV_OK;
}

NvStatus CreateRangeGroup(EscapeContext& /*context*/, UvmSpace& space, Bytes params) {
  uint64_t id = 0;
  const NvStatus status = space.AddGroup(&id);
  if (status == NV_OK) params.PutU64(0, id);
  return status;
}

NvStatus DestroyRangeGroup(EscapeContext& /*context*/, UvmSpace& space, Bytes params) {
  return space.RemoveGroup(params.U64(0));
}

NvStatus SetRangeGroup(EscapeContext& /*context*/, UvmSpace& space, Bytes params) {
  return params.U64(0) == 0 || space.HasGroup(params.U64(0)) ? NV_OK : NV_ERR_INVALID_ARGUMENT;
}

NvStatus UnregisterGpu(EscapeContext& /*context*/, UvmSpace& space, Bytes params) {
  return space.gpus.erase(UuidAt(params, 0)) != 0 ? NV_OK : NV_ERR_INVALID_ARGUMENT;
}

NvStatus UnregisterVaspace(EscapeContext& /*context*/, UvmSpace& space, Bytes params) {
  return space.RemoveVaspace(UuidAt(params, 0));
}

NvStatus AddRange(EscapeContext& /*context*/, UvmSpace& space, Bytes params) {
  return space.AddRange(params.U64(0), params.U64(8));
}

NvStatus Free(EscapeContext& /*context*/, UvmSpace& space, Bytes params) {
  return space.RemoveRange(params.U64(0));
}

// The GPU reaches no memory that was not mapped for it.
NvStatus PageableMemAccess(EscapeContext& /*context*/, UvmSpace& /*space*/, Bytes params) {
  params.PutU8(0, 0);
  return NV_OK;
}

NvStatus PageableMemAccessOnGpu(EscapeContext& /*context*/, UvmSpace& /*space*/, Bytes params) {
  params.PutU8(16, 0);
  return NV_OK;
}

NvStatus PopulatePageable(EscapeContext& /*context*/, UvmSpace& /*space*/, Bytes /*params*/) {
  return NV_ERR_NOT_SUPPORTED;
}

constexpr bool kGuess = true;

// clang-format off
constexpr UvmRequest kRequests[] = {
    {23, "UVM_CREATE_RANGE_GROUP", "libcuda context: seven of them", CreateRangeGroup},
    {24, "UVM_DESTROY_RANGE_GROUP", "libcuda at exit", DestroyRangeGroup},
    {25, "UVM_REGISTER_GPU_VASPACE", "libcuda context", RegisterVaspace},
    {26, "UVM_UNREGISTER_GPU_VASPACE", "libcuda at exit", UnregisterVaspace},
    {27, "UVM_REGISTER_CHANNEL",
     "libcuda context; prepares the channel for faults that UVM would serve, and none occur"},
    {28, "UVM_UNREGISTER_CHANNEL", "libcuda at exit; nothing was registered"},
    {29, "UVM_ENABLE_PEER_ACCESS",
     "several GPUs; no two simulated GPUs reach each other, so libcuda does not get here", nullptr, kGuess},
    {30, "UVM_DISABLE_PEER_ACCESS", "as UVM_ENABLE_PEER_ACCESS", nullptr, kGuess},
    {31, "UVM_SET_RANGE_GROUP", "managed memory attached to a stream", SetRangeGroup},
    {33, "UVM_MAP_EXTERNAL_ALLOCATION", "libcuda: each allocation", MapExternal},
    {34, "UVM_FREE", "libcuda: each allocation", Free},
    {37, "UVM_REGISTER_GPU", "libcuda cuInit", RegisterGpu},
    {38, "UVM_UNREGISTER_GPU", "libcuda at exit", UnregisterGpu},
    {39, "UVM_PAGEABLE_MEM_ACCESS", "libcuda cuInit", PageableMemAccess},
    {42, "UVM_SET_PREFERRED_LOCATION", "cuMemAdvise; a hint, and pages have one place only"},
    {43, "UVM_UNSET_PREFERRED_LOCATION", "cuMemAdvise; a hint, and pages have one place only"},
    {44, "UVM_ENABLE_READ_DUPLICATION", "cuMemAdvise; a hint, and pages have one place only"},
    {45, "UVM_DISABLE_READ_DUPLICATION", "cuMemAdvise; a hint, and pages have one place only"},
    {46, "UVM_SET_ACCESSED_BY", "cuMemAdvise; every GPU sees all managed ranges already"},
    {47, "UVM_UNSET_ACCESSED_BY", "cuMemAdvise; access by faults is allowed still, which is what there is"},
    {51, "UVM_MIGRATE", "cuMemPrefetchAsync; nothing moves, the semaphore is released at once", Migrate},
    {53, "UVM_MIGRATE_RANGE_GROUP", "cuStreamAttachMemAsync; pages have one place only"},
    {65, "UVM_MAP_DYNAMIC_PARALLELISM_REGION", "libcuda context", AddRange},
    {66, "UVM_UNMAP_EXTERNAL", "cuMemUnmap", UnmapExternal},
    {68, "UVM_ALLOC_SEMAPHORE_POOL", "libcuda context", AllocSemaphorePool},
    {70, "UVM_PAGEABLE_MEM_ACCESS_ON_GPU", "libcuda cuInit", PageableMemAccessOnGpu},
    {71, "UVM_POPULATE_PAGEABLE", "nobody asks: pageable memory is not accessible", PopulatePageable},
    {72, "UVM_VALIDATE_VA_RANGE", "libcuda: each mapping of the file", ValidateVaRange},
    {73, "UVM_CREATE_EXTERNAL_RANGE", "libcuda: each allocation", AddRange},
    {80, "UVM_DISCARD", "from 580 on; what is discarded may as well be kept", nullptr, kGuess},
};
// clang-format on

const UvmRequest* FindRequest(uint32_t number) {
  const auto* end = std::end(kRequests);
  const auto* request = std::find_if(std::begin(kRequests), end,
                                     [number](const UvmRequest& each) { return each.number == number; });
  return request == end ? nullptr : request;
}

NvStatus RunOnSpace(EscapeContext& context, Bytes params) {
  const UvmRequest* request = FindRequest(context.call.command);
  if (request == nullptr) return NV_ERR_NOT_SUPPORTED;  // answers_test: there is none
  if (context.file.uvm == nullptr) return NV_ERR_ILLEGAL_ACTION;
  return request->run == nullptr ? NV_OK : request->run(context, *context.file.uvm, params);
}

}  // namespace

std::span<const UvmRequest> UvmRequests() { return kRequests; }

int RunUvm(EscapeContext& context) {
  if (context.call.command == UVM_DEINITIALIZE)
    return 0;  // a no-op in the module too: the last close ends the space
  Bytes params(context.call.Bytes(0));
  const abi::Spec* spec = abi::Find(context.machine.table().uvm, context.call.command);
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
  } else {
    status = RunOnSpace(context, params);
  }
  if (spec->status_offset != abi::kNone) params.PutU32(spec->status_offset, status);
  return 0;
}

}  // namespace nvshim::broker::sim
