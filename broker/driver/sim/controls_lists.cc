// The commands that take a list of {index, data} pairs and fill in data: GPU, FB, BUS, GR and BIOS
// information. Each list exists in two forms, inside the parameters (V2) or behind a pointer (V1), around one
// function per list.
#include "broker/driver/sim/controls.h"

namespace nvshim::broker::sim {
namespace {

using InfoFn = uint32_t (*)(ControlContext&, uint32_t index);

// Fills `count` pairs in `list`. RM refuses indices above the last one it knows, and leaves others at 0.
NvStatus FillList(ControlContext& context, Bytes list, uint32_t count, uint32_t index_max, InfoFn info) {
  if (!list.Has(0, size_t{8} * count)) return NV_ERR_INVALID_ARGUMENT;
  for (uint32_t i = 0; i < count; ++i)
    if ((list.U32(size_t{8} * i) & 0xffffff) > index_max) return NV_ERR_INVALID_ARGUMENT;
  for (uint32_t i = 0; i < count; ++i)
    list.PutU32(size_t{8} * i + 4, info(context, list.U32(size_t{8} * i) & 0xffffff));
  return NV_OK;
}

// {listSize, list[max]}
NvStatus FillInside(ControlContext& context, uint32_t index_max, InfoFn info) {
  return FillList(context, context.params.Sub(4), context.params.U32(0), index_max, info);
}
// {listSize, pList}
NvStatus FillBehind(ControlContext& context, uint32_t index_max, InfoFn info) {
  return FillList(context, context.Child(8), context.params.U32(0), index_max, info);
}

constexpr uint32_t KiB(uint64_t bytes) { return static_cast<uint32_t>(bytes >> 10); }
constexpr uint32_t Mask(uint32_t bits) { return bits >= 32 ? ~0u : (1u << bits) - 1; }

uint32_t GpuInfo(ControlContext& context, uint32_t index) {
  switch (index) {
    case 0x1f:
      return 1;  // SYSMEM_ACCESS
    case 0x26:
      return ~0u;  // IBMNPU_RELAXED_ORDERING: unsupported
    case 0x2a:
      return context.profile().chip == Chip::kAD102 ? 0 : 2;  // GPU_SMC_MODE: unsupported, or disabled
    case 0x2b:
      return 1;  // SPLIT_VAS_MGMT_SERVER_CLIENT_RM
    case 0x2c:
      return context.profile().sm_version;  // GPU_SM_VERSION
    case 0x2f:
      return 1;  // PER_RUNLIST_CHANNEL_RAM, from Ampere on
    case 0x31:
      return 2;  // NVENC_STATS_REPORTING_STATE: not supported
    case 0x34:
      return context.profile().display;  // DISPLAY_ENABLED
    case 0x36:
      return 1;  // GPU_PROFILING_CAPABILITY
    case 0x37:
      return 1;  // GPU_DEBUGGING_CAPABILITY
    default:
      return 0;
  }
}

uint32_t FbInfo(ControlContext& context, uint32_t index) {
  const Profile& profile = context.profile();
  const VideoHeap& heap = context.heap();
  switch (index) {
    case 0x04:
      return profile.partitions;  // PARTITION_COUNT
    case 0x05:
      return KiB(profile.bar1_bytes);  // BAR1_SIZE
    case 0x07:                         // RAM_SIZE
    case 0x08:
      return profile.ram_mib << 10;  // TOTAL_RAM_SIZE
    case 0x09:                       // HEAP_SIZE
    case 0x0a:                       // MAPPABLE_HEAP_SIZE
    case 0x20:
      return KiB(heap.size_bytes());  // USABLE_RAM_SIZE
    case 0x0b:
      return profile.bus_width_bits;  // BUS_WIDTH
    case 0x0d:
      return profile.ram_type;  // RAM_TYPE
    case 0x0e:
      return 16;  // BANK_COUNT
    case 0x12:    // LARGEST_FREE_REGION_SIZE_KB
    case 0x16:
      return KiB(heap.free_bytes());  // HEAP_FREE
    case 0x14:                        // PARTITION_MASK
    case 0x1a:
      return Mask(profile.partitions);  // FBP_MASK
    case 0x19:
      return profile.partitions;  // FBP_COUNT
    case 0x1b:
      return profile.l2_bytes;  // L2CACHE_SIZE
    case 0x1c:
      return ~0u;  // MEMORYINFO_VENDOR_ID: unknown
    case 0x1d:     // BAR1_AVAIL_SIZE
    case 0x1f:
      return KiB(profile.bar1_bytes) - 4096;  // BAR1_MAX_CONTIGUOUS_AVAIL_SIZE: RM maps 4 MiB for itself
    case 0x22:
      return 2 * profile.partitions;  // LTC_COUNT
    case 0x23:
      return 8 * profile.partitions;  // LTS_COUNT
    case 0x2a:
      return profile.ecc;  // ALLOW_PAGE_RETIREMENT
    case 0x2b:
      return Mask(2 * profile.partitions);  // LTC_MASK
    case 0x2d:
      return profile.ecc;  // FBPA_ECC_ENABLED
    case 0x3b:
      return ~0u;  // NUMA_NODE_ID: none
    default:
      return 0;
  }
}

constexpr uint32_t kBusInfoMax = 0x33;
uint32_t BusInfo(ControlContext& context, uint32_t index) {
  constexpr uint32_t kPciExpress = 3;
  const Profile& profile = context.profile();
  const uint32_t gen = profile.pcie_gen, level = gen - 1;
  // MAX_SPEED 3:0, MAX_WIDTH 9:4, GEN 15:12, CURR_LEVEL 19:16, GPU_GEN 23:20
  const uint32_t link_caps = gen | profile.pcie_width << 4 | level << 12 | level << 16 | level << 20;
  switch (index) {
    case 0x00:  // TYPE
    case 0x13:  // INTERFACE_TYPE
    case 0x2e:
      return kPciExpress;  // GPU_INTERFACE_TYPE
    case 0x01:
      return 16;  // INTLINE
    case 0x03:    // PCIE_GPU_LINK_CAPS
    case 0x04:    // PCIE_ROOT_LINK_CAPS
    case 0x05:    // PCIE_UPSTREAM_LINK_CAPS
    case 0x2d:
      return link_caps;  // PCIE_GEN_INFO
    case 0x07:           // PCIE_GPU_LINK_CTRL_STATUS
    case 0x08:           // PCIE_ROOT_LINK_CTRL_STATUS
    case 0x09:
      return gen << 16 | profile.pcie_width << 20;  // PCIE_UPSTREAM_LINK_CTRL_STATUS
    case 0x0b:                                      // COHERENT_DMA_FLAGS: CTXDMA, GPUGART
    case 0x0c:
      return 1 | 1 << 2;  // NONCOHERENT_DMA_FLAGS
    case 0x0d:
      return 1u << (49 - 20);  // GPU_GART_SIZE: 2^49 bytes of address space, in MiB
    case 0x0e:
      return 1 << 1;  // GPU_GART_FLAGS: UNIFIED
    case 0x0f:
      return context.gpu().bus();  // BUS_NUMBER
    case 0x31:
      return 1;  // MSI_INFO: enabled
    default:
      return 0;
  }
}

uint32_t GrInfo(ControlContext& context, uint32_t index) {
  const Profile& profile = context.profile();
  switch (index) {
    case 0x00:
      return 1;  // MAXCLIPS
    case 0x03:   // BUFFER_ALIGNMENT
    case 0x04:
      return 512;  // SWIZZLE_ALIGNMENT
    case 0x06:
      return profile.tpcs();  // VPE_COUNT
    case 0x07:
      return static_cast<uint32_t>(profile.tpcs_per_gpc.size());  // SHADER_PIPE_COUNT: GPCs
    case 0x08:
      return 1;  // THREAD_STACK_SCALING_FACTOR
    case 0x09:
      return profile.tpcs();  // SHADER_PIPE_SUB_COUNT: TPCs
    case 0x0a:
      return 4;  // SM_REG_BANK_COUNT: one per quarter of an SM
    case 0x0b:
      return 16384;  // SM_REG_BANK_REG_COUNT: 65536 registers in an SM
    case 0x0c:
      return profile.sm_version;  // SM_VERSION
    case 0x0d:
      return profile.warps_per_sm;  // MAX_WARPS_PER_SM
    case 0x0e:
      return 32;  // MAX_THREADS_PER_WARP
    case 0x13:
      return profile.cores_per_sm;  // MAX_SP_PER_SM
    case 0x14:
      return profile.gpcs_max;  // LITTER_NUM_GPCS
    case 0x15:
      return profile.partitions;  // LITTER_NUM_FBPS
    case 0x17:                    // LITTER_NUM_TPC_PER_GPC
    case 0x2a:
      return profile.tpcs_per_gpc_max;  // FAMILY_MAX_TPC_PER_GPC
    case 0x1a:
      return 1;  // TIMESLICE_ENABLED
    case 0x1b:
      return 2 * profile.partitions;  // LITTER_NUM_FBPAS
    case 0x1c:
      return 3;  // LITTER_NUM_PES_PER_GPC
    case 0x1d:
      return profile.sms() * profile.cores_per_sm;  // GPU_CORE_COUNT
    case 0x1e:
      return 3;  // LITTER_NUM_TPCS_PER_PES
    case 0x20:
      return 2;  // LITTER_NUM_SM_PER_TPC
    case 0x22:
      return profile.sms() * profile.rt_cores_per_sm;  // RT_CORE_COUNT
    case 0x23:
      return profile.sms() * profile.tensor_cores_per_sm;  // TENSOR_CORE_COUNT
    case 0x24:
      return profile.chip == Chip::kAD102 ? 1 : 8;  // LITTER_NUM_GRS
    case 0x25:
      return 2 * profile.partitions;  // LITTER_NUM_LTCS
    case 0x26:
      return 4;  // LITTER_NUM_LTC_SLICES
    case 0x27:
      return 1;  // LITTER_NUM_GPCMMU_PER_GPC
    case 0x28:
      return 2;  // LITTER_NUM_LTC_PER_FBP
    case 0x2b:
      return 2;  // LITTER_NUM_FBPA_PER_FBP
    case 0x2c:
      return 64;  // MAX_SUBCONTEXT_COUNT
    case 0x2e:
      return 64;  // MAX_PER_ENGINE_SUBCONTEXT_COUNT
    case 0x32:
      return 4;  // LITTER_NUM_SLICES_PER_LTC
    case 0x34:
      return 0xf;  // GFX_CAPABILITIES: 2D, 3D, COMPUTE, I2M
    case 0x35:
      return profile.chip == Chip::kAD102 ? 1 : 8;  // MAX_MIG_ENGINES
    case 0x36:
      return static_cast<uint32_t>(profile.tpcs_per_gpc.size());  // MAX_PARTITIONABLE_GPCS
    default:
      return 0;
  }
}

// NV0041_CTRL_SURFACE_INFO_INDEX_*, of a memory object (mem_ctrl.c). Nothing is compressed.
constexpr uint32_t kSurfaceInfoMax = 9;
uint32_t SurfaceInfo(ControlContext& context, uint32_t index) {
  const Memory& memory = *context.object.memory;
  switch (index) {
    case 0x07:
      return static_cast<uint32_t>(memory.size_bytes >> 12);  // PHYS_SIZE
    case 0x09:
      return AddrSpaceType(memory);  // ADDR_SPACE_TYPE
    default:
      return 0;
  }
}

constexpr uint32_t kBiosInfoMax = 0x1f;
uint32_t BiosInfo(ControlContext& context, uint32_t index) {
  // REVISION and OEM_REVISION, printed as xx.xx.xx.xx.xx by nvidia-smi -q
  switch (index) {
    case 0x00:
      return context.profile().architecture >> 4 << 24;
    default:
      return 0;
  }
}

}  // namespace

NvStatus GpuGetInfoV2(ControlContext& context) {
  // The list has one entry for each index that there is.
  const uint32_t entries = static_cast<uint32_t>(context.params.size() - 4) / 8;
  return FillInside(context, entries - 1, GpuInfo);
}
NvStatus FbGetInfo(ControlContext& context) {
  return FillBehind(context, context.layout().fb_info_index_max, FbInfo);
}
NvStatus FbGetInfoV2(ControlContext& context) {
  return FillInside(context, context.layout().fb_info_index_max, FbInfo);
}
NvStatus BusGetInfo(ControlContext& context) { return FillBehind(context, kBusInfoMax, BusInfo); }
NvStatus BusGetInfoV2(ControlContext& context) { return FillInside(context, kBusInfoMax, BusInfo); }
NvStatus GrGetInfo(ControlContext& context) {
  return FillBehind(context, context.layout().gr_info_index_max, GrInfo);
}
NvStatus DeviceGrGetInfo(ControlContext& context) { return GrGetInfo(context); }
NvStatus BiosGetInfo(ControlContext& context) { return FillBehind(context, kBiosInfoMax, BiosInfo); }
NvStatus GetSurfaceInfo(ControlContext& context) { return FillBehind(context, kSurfaceInfoMax, SurfaceInfo); }

}  // namespace nvshim::broker::sim
