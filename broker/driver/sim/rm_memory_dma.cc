// NV_ESC_RM_MAP_MEMORY_DMA and NV_ESC_RM_UNMAP_MEMORY_DMA: memory into the address space of a virtual memory
// object. libcuda maps through UVM instead; other users of RM do not.
#include "broker/driver/sim/escapes.h"

namespace nvshim::broker::sim {
namespace {

// NVOS46_PARAMETERS and NVOS47_PARAMETERS
constexpr size_t kClient = 0, kDma = 8, kMemory = 12, kOffset = 16, kLength = 24, kFlags = 32,
                 kUnmapDmaOffset = 24;

// The virtual memory object that is mapped into, or null.
Object* FindVirtual(Client& client, uint32_t handle) {
  Object* object = client.Find(handle);
  const bool fits = object != nullptr && object->memory != nullptr &&
                    object->memory->type == MemoryType::kVirtual && object->address_space != nullptr;
  return fits ? object : nullptr;
}

// Where to map. An offset counts from the start of the virtual memory unless it is said to be an address;
// NV01_MEMORY_VIRTUAL leaves the choice to RM instead.
NvStatus ChooseAddress(const Object& virtual_object, uint32_t flags, uint64_t length, uint64_t* address) {
  const Memory& range = *virtual_object.memory;
  if ((flags & NVOS46_FLAGS_DMA_OFFSET_FIXED) == 0) {
    if (virtual_object.class_number == NV01_MEMORY_VIRTUAL)
      return virtual_object.address_space->FindUnmapped(range.offset, range.offset + range.size_bytes, length,
                                                        address);
    *address += range.offset;
  }
  const uint64_t inside = *address - range.offset;
  return inside < range.size_bytes && length <= range.size_bytes - inside ? NV_OK : NV_ERR_INVALID_OFFSET;
}

}  // namespace

NvStatus RmMapMemoryDma(EscapeContext& context, Bytes params) {
  Client* client = context.FindClient(params.U32(kClient));
  if (client == nullptr) return NV_ERR_INVALID_CLIENT;
  Object* virtual_object = FindVirtual(*client, params.U32(kDma));
  Object* object = client->Find(params.U32(kMemory));
  if (virtual_object == nullptr || object == nullptr) return NV_ERR_OBJECT_NOT_FOUND;
  if (object->memory == nullptr || object->memory->type == MemoryType::kVirtual) return NV_ERR_INVALID_OBJECT;
  const uint64_t length = params.U64(kLength);
  const size_t dma_offset = context.machine.layout().map_dma_offset;
  uint64_t address = params.U64(dma_offset);
  NvStatus status = ChooseAddress(*virtual_object, params.U32(kFlags), length, &address);
  if (status != NV_OK) return status;
  AddressSpace& space = *virtual_object->address_space;
  status = space.Map(address, length, object->memory, params.U64(kOffset));
  if (status != NV_OK) return status;
  if (!DmaMappings::Add({virtual_object->address_space, address, length}, virtual_object->dma_mappings,
                        object->dma_mappings)) {
    space.Unmap(address, length);
    return NV_ERR_INSUFFICIENT_RESOURCES;
  }
  params.PutU64(dma_offset, address);
  return NV_OK;
}

NvStatus RmUnmapMemoryDma(EscapeContext& context, Bytes params) {
  Client* client = context.FindClient(params.U32(kClient));
  if (client == nullptr) return NV_ERR_INVALID_CLIENT;
  Object* virtual_object = FindVirtual(*client, params.U32(kDma));
  if (virtual_object == nullptr) return NV_ERR_OBJECT_NOT_FOUND;
  return virtual_object->dma_mappings.Remove(params.U64(kUnmapDmaOffset),
                                             params.U64(context.machine.layout().unmap_dma_size));
}

}  // namespace nvshim::broker::sim
