// NV0000 commands: questions about the machine, asked of a client. GPUs are named by gpuId.
#include <array>

#include "broker/driver/sim/controls.h"

namespace nvshim::broker::sim {
namespace {

constexpr uint32_t kMaxGpus = 32;               // NV0000_CTRL_GPU_MAX_ATTACHED_GPUS, MAX_PROBED_GPUS
constexpr uint32_t kInvalidGpuId = 0xffffffff;  // NV0000_CTRL_GPU_INVALID_ID
constexpr uint32_t kAttachAll = 0x0000ffff;     // NV0000_CTRL_GPU_ATTACH_ALL_PROBED_IDS
constexpr uint32_t kNoNumaNode = 0xffffffff;    // NV0000_CTRL_NO_NUMA_NODE
constexpr uint32_t kIdInfoInUse = 1;            // NV0000_CTRL_GPU_ID_INFO_IN_USE_TRUE

// A list of kMaxGpus ids at `offset`, unused entries invalid.
void PutGpuIds(ControlContext& context, size_t offset) {
  const auto& gpus = context.machine().gpus();
  for (uint32_t i = 0; i < kMaxGpus; ++i)
    context.params.PutU32(offset + 4 * i, i < gpus.size() ? gpus[i].gpu_id : kInvalidGpuId);
}

}  // namespace

NvStatus SystemGetBuildVersion(ControlContext& context) {
  const std::string& version = context.machine().version();
  // Three strings of sizeOfStrings bytes each. libcuda compares the first with its own version, character by
  // character.
  constexpr std::string_view kTitle = "NVIDIA UNIX x86_64 Kernel Module, simulated";
  const size_t room = version.size() < kTitle.size() ? kTitle.size() + 1 : version.size() + 1;
  const uint32_t size = context.params.U32(0);
  if (context.Child(8).empty() && context.Child(16).empty() && context.Child(24).empty()) {
    context.params.PutU32(0, static_cast<uint32_t>(room));  // the size query
    return NV_OK;
  }
  if (size <= version.size()) return NV_ERR_INVALID_ARGUMENT;
  context.Child(8).PutString(0, size, version);   // pDriverVersionBuffer
  context.Child(16).PutString(0, size, version);  // pVersionBuffer
  context.Child(24).PutString(0, size, kTitle);   // pTitleBuffer
  context.params.PutU32(32, 0);                   // changelistNumber
  context.params.PutU32(36, 0);                   // officialChangelistNumber
  return NV_OK;
}

NvStatus GpuGetAttachedIds(ControlContext& context) {
  PutGpuIds(context, 0);
  return NV_OK;
}

NvStatus GpuGetProbedIds(ControlContext& context) {
  PutGpuIds(context, 0);
  for (uint32_t i = 0; i < kMaxGpus; ++i)
    context.params.PutU32(128 + 4 * i, kInvalidGpuId);  // excludedGpuIds
  context.params.Sub(256).Fill(0);                      // gpuFlags, where there are any
  return NV_OK;
}

NvStatus GpuAttachIds(ControlContext& context) {
  for (uint32_t i = 0; i < kMaxGpus; ++i) {
    const uint32_t gpu_id = context.params.U32(4 * i);
    if (i == 0 && gpu_id == kAttachAll) break;
    if (gpu_id == kInvalidGpuId) break;
    if (!context.machine().FindGpu(gpu_id)) return NV_ERR_INVALID_ARGUMENT;
  }
  context.params.PutU32(128, kInvalidGpuId);  // failedId
  return NV_OK;
}

NvStatus GpuDetachIds(ControlContext& context) {
  for (uint32_t i = 0; i < kMaxGpus; ++i) {
    const uint32_t gpu_id = context.params.U32(4 * i);
    if ((i == 0 && gpu_id == kAttachAll) || gpu_id == kInvalidGpuId) break;
    if (!context.machine().FindGpu(gpu_id)) return NV_ERR_INVALID_ARGUMENT;
  }
  return NV_OK;
}

NvStatus GpuAttachId(ControlContext& context) {
  return context.machine().FindGpu(context.params.U32(0)) ? NV_OK : NV_ERR_INVALID_ARGUMENT;
}

NvStatus GpuGetActiveDeviceIds(ControlContext& context) {
  // {numDevices, devices[256]{gpuId, gpuInstanceId, computeInstanceId}}
  constexpr uint32_t kNoInstance = 0xffffffff;
  const auto& gpus = context.machine().gpus();
  context.params.Fill(0);
  context.params.PutU32(0, static_cast<uint32_t>(gpus.size()));
  for (size_t i = 0; i < gpus.size(); ++i) {
    context.params.PutU32(4 + 12 * i, gpus[i].gpu_id);
    context.params.PutU32(8 + 12 * i, kNoInstance);
    context.params.PutU32(12 + 12 * i, kNoInstance);
  }
  return NV_OK;
}

NvStatus GpuGetIdInfo(ControlContext& context) {
  const auto index = context.machine().FindGpu(context.params.U32(0));
  if (!index) return NV_ERR_INVALID_ARGUMENT;
  context.params.PutU32(4, kIdInfoInUse);                           // gpuFlags
  context.params.PutU32(8, *index);                                 // deviceInstance
  context.params.PutU32(12, 0);                                     // subDeviceInstance
  context.params.PutU32(24, 0);                                     // sliStatus
  context.params.PutU32(28, context.machine().gpu(*index).gpu_id);  // boardId
  context.params.PutU32(32, *index);                                // gpuInstance
  context.params.PutU32(36, kNoNumaNode);                           // numaId
  return NV_OK;
}

NvStatus GpuGetIdInfoV2(ControlContext& context) {
  const auto index = context.machine().FindGpu(context.params.U32(0));
  if (!index) return NV_ERR_INVALID_ARGUMENT;
  context.params.PutU32(4, kIdInfoInUse);
  context.params.PutU32(8, *index);
  context.params.PutU32(12, 0);
  context.params.PutU32(16, 0);
  context.params.PutU32(20, context.machine().gpu(*index).gpu_id);
  context.params.PutU32(24, *index);
  context.params.PutU32(28, kNoNumaNode);
  return NV_OK;
}

NvStatus GpuGetDeviceIds(ControlContext& context) {
  context.params.PutU32(0, (1u << context.machine().gpus().size()) - 1);  // deviceIds, a mask
  return NV_OK;
}

NvStatus SystemGetPciInfo(ControlContext& context) {
  const auto index = context.machine().FindGpu(context.params.U32(0));
  if (!index) return NV_ERR_INVALID_ARGUMENT;
  context.params.PutU32(4, 0);  // domain
  context.params.PutU16(8, static_cast<uint16_t>(context.machine().gpu(*index).bus()));
  context.params.PutU16(10, 0);  // slot
  return NV_OK;
}

NvStatus GpuGetUuidFromGpuId(ControlContext& context) {
  const auto index = context.machine().FindGpu(context.params.U32(0));
  if (!index) return NV_ERR_INVALID_ARGUMENT;
  const Gpu& gpu = context.machine().gpu(*index);
  const bool binary = (context.params.U32(4) & 3) == 2;  // flags, FORMAT as in GET_GID_INFO
  if (binary) {
    context.params.PutBytes(8, gpu.uuid);
    context.params.PutU32(264, static_cast<uint32_t>(gpu.uuid.size()));  // uuidStrLen
  } else {
    const std::string text = gpu.UuidText();
    context.params.PutString(8, 256, text);
    context.params.PutU32(264, static_cast<uint32_t>(text.size() + 1));
  }
  return NV_OK;
}

NvStatus GpuQueryDrainState(ControlContext& context) {
  if (!context.machine().FindGpu(context.params.U32(0))) return NV_ERR_INVALID_ARGUMENT;
  context.params.PutU32(4, 0);  // drainState: disabled
  context.params.PutU32(8, 0);  // flags
  return NV_OK;
}

NvStatus GpuAcctGetAccountingState(ControlContext& context) {
  if (!context.machine().FindGpu(context.params.U32(0))) return NV_ERR_INVALID_ARGUMENT;
  context.params.PutU32(8, 1);  // state: NV0000_CTRL_GPU_ACCOUNTING_STATE_DISABLED
  return NV_OK;
}

uint32_t AddrSpaceType(const Memory& memory) {
  if (memory.type == MemoryType::kVideo) return kAddrSpaceVidmem;
  return memory.type == MemoryType::kRegisters ? kAddrSpaceRegmem : kAddrSpaceSysmem;
}

NvStatus ClientGetAddrSpaceType(ControlContext& context) {
  const Object* object = context.client.Find(context.params.U32(0));
  if (object == nullptr) return NV_ERR_OBJECT_NOT_FOUND;
  if (object->memory == nullptr) return NV_ERR_INVALID_OBJECT;
  context.params.PutU32(8, AddrSpaceType(*object->memory));
  return NV_OK;
}

NvStatus SystemGetP2pCaps(ControlContext& context) {
  // {gpuIds[32], gpuCount, p2pCaps, p2pOptimalReadCEs, p2pOptimalWriteCEs, p2pCapsStatus[9], ...}
  constexpr uint8_t kNotSupported = 5;  // NV0000_P2P_CAPS_STATUS_NOT_SUPPORTED
  const uint32_t count = context.params.U32(128);
  if (count == 0 || count > kMaxGpus) return NV_ERR_INVALID_ARGUMENT;
  for (uint32_t i = 0; i < count; ++i)
    if (!context.machine().FindGpu(context.params.U32(4 * i))) return NV_ERR_INVALID_ARGUMENT;
  context.params.Sub(132, 12).Fill(0);
  context.params.Sub(144, 9).Fill(kNotSupported);
  return NV_OK;
}

NvStatus SystemGetP2pCapsMatrix(ControlContext& context) {
  // {grpACount, grpBCount, gpuIdGrpA[8], gpuIdGrpB[8], ...}: no pair of simulated GPUs can reach each other.
  if (context.params.U32(0) > 8 || context.params.U32(4) > 8) return NV_ERR_INVALID_ARGUMENT;
  context.params.Sub(72).Fill(0);
  return NV_OK;
}

}  // namespace nvshim::broker::sim
