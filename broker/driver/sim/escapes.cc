// The table of escapes and the checks that all of them share: known number, right size, right kind of file.
#include "broker/driver/sim/escapes.h"

#include <errno.h>

#include <algorithm>

#include "broker/driver/sim/nv.h"
#include "proto/abi/spec.h"

namespace nvshim::broker::sim {
namespace {

enum class Nodes : uint8_t { kCtl, kGpu, kEither };

inline constexpr uint32_t kErrno = 0xffff;  // no status field: a failure is the ioctl's errno

struct Escape {
  uint32_t number;  // _IOC_NR
  uint32_t size;    // bytes; for arrays of one element
  bool array;
  Nodes nodes;
  uint32_t status_offset;
  NvStatus (*run)(EscapeContext&, Bytes);  // null: known and refused with NV_ERR_NOT_SUPPORTED
};

// NVOS21 and NVOS64 are two forms of one escape, told apart by size.
constexpr Escape kEscapes[] = {
    {NV_ESC_RM_ALLOC_MEMORY, 56, false, Nodes::kGpu, 40, RmAllocMemory},
    {NV_ESC_RM_FREE, 16, false, Nodes::kCtl, 12, RmFree},
    {NV_ESC_RM_CONTROL, 32, false, Nodes::kCtl, 28, RmControl},
    {NV_ESC_RM_ALLOC, 32, false, Nodes::kEither, 28, RmAlloc},
    {NV_ESC_RM_ALLOC, 48, false, Nodes::kEither, 40, RmAlloc},
    {NV_ESC_RM_DUP_OBJECT, 28, false, Nodes::kCtl, 24, RmDupObject},
    {NV_ESC_RM_SHARE, 24, false, Nodes::kCtl, 20, RmShare},
    {NV_ESC_RM_VID_HEAP_CONTROL, 184, false, Nodes::kCtl, 20, RmVidHeapControl},
    {NV_ESC_RM_MAP_MEMORY, 56, false, Nodes::kCtl, 40, RmMapMemory},
    {NV_ESC_RM_UNMAP_MEMORY, 32, false, Nodes::kCtl, 24, RmUnmapMemory},
    {0x52, 16, false, Nodes::kEither, 12, nullptr},  // NV_ESC_RM_GET_EVENT_DATA: no event carries data
    {NV_ESC_RM_MAP_MEMORY_DMA, 56, false, Nodes::kCtl, 48, RmMapMemoryDma},
    {NV_ESC_RM_UNMAP_MEMORY_DMA, 40, false, Nodes::kCtl, 32, RmUnmapMemoryDma},
    {NV_ESC_RM_UPDATE_DEVICE_MAPPING_INFO, 40, false, Nodes::kCtl, 32, RmUpdateDeviceMappingInfo},
    {NV_ESC_CARD_INFO, 72, true, Nodes::kCtl, kErrno, CardInfo},
    {NV_ESC_REGISTER_FD, 4, false, Nodes::kEither, kErrno, RegisterFd},
    {NV_ESC_ALLOC_OS_EVENT, 16, false, Nodes::kEither, 12, AllocOsEvent},
    {NV_ESC_FREE_OS_EVENT, 16, false, Nodes::kEither, 12, FreeOsEvent},
    {NV_ESC_CHECK_VERSION_STR, 72, false, Nodes::kCtl, kErrno, CheckVersionStr},
    {NV_ESC_ATTACH_GPUS_TO_FD, 4, true, Nodes::kCtl, kErrno, AttachGpusToFd},
    {NV_ESC_SYS_PARAMS, 8, false, Nodes::kCtl, kErrno, SysParams},
    {NV_ESC_NUMA_INFO, 560, false, Nodes::kGpu, kErrno, NumaInfo},
    {NV_ESC_WAIT_OPEN_COMPLETE, 8, false, Nodes::kEither, kErrno, WaitOpenComplete},
};

bool SizeFits(const Escape& escape, uint32_t size) {
  return escape.array ? size >= escape.size && size % escape.size == 0 : size == escape.size;
}

bool NodeFits(Nodes nodes, DeviceClass device_class) {
  if (nodes == Nodes::kEither) return true;
  return (nodes == Nodes::kCtl) == (device_class == DeviceClass::kCtl);
}

}  // namespace

int RunEscape(EscapeContext& context) {
  Bytes params(context.call.Bytes(0));
  const uint32_t number = abi::IocNumber(context.call.command);
  const uint32_t size = abi::IocSize(context.call.command);
  bool known = false;
  for (const Escape& escape : kEscapes) {
    if (escape.number != number) continue;
    known = true;
    if (!SizeFits(escape, size) || params.size() != size) continue;
    if (!NodeFits(escape.nodes, context.file.node.device_class)) return EINVAL;
    const NvStatus status = escape.run == nullptr ? NV_ERR_NOT_SUPPORTED : escape.run(context, params);
    if (escape.status_offset == kErrno) return status == NV_OK ? 0 : EINVAL;
    params.PutU32(escape.status_offset, status);
    return 0;
  }
  if (!known) context.machine.unknowns.Report(NumberSpace::kEscape, number, size);
  return EINVAL;
}

}  // namespace nvshim::broker::sim
