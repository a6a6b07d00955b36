// The table of escapes and the checks that all of them share: known number, right size, right kind of file.
// Sizes and the place of the status are those of the driver's version.
#include "broker/driver/sim/escapes.h"

#include <errno.h>

#include <algorithm>

#include "broker/driver/sim/nv.h"
#include "proto/abi/spec.h"

namespace nvshim::broker::sim {
namespace {

enum class Nodes : uint8_t { kCtl, kGpu, kEither };

struct Escape {
  uint32_t number;  // _IOC_NR
  Nodes nodes;
  NvStatus (*run)(EscapeContext&, Bytes);  // null: known and refused with NV_ERR_NOT_SUPPORTED
};

constexpr Escape kEscapes[] = {
    {NV_ESC_RM_ALLOC_MEMORY, Nodes::kGpu, RmAllocMemory},
    {NV_ESC_RM_FREE, Nodes::kCtl, RmFree},
    {NV_ESC_RM_CONTROL, Nodes::kCtl, RmControl},
    {NV_ESC_RM_ALLOC, Nodes::kEither, RmAlloc},
    {NV_ESC_RM_DUP_OBJECT, Nodes::kCtl, RmDupObject},
    {NV_ESC_RM_SHARE, Nodes::kCtl, RmShare},
    {NV_ESC_RM_VID_HEAP_CONTROL, Nodes::kCtl, RmVidHeapControl},
    {NV_ESC_RM_MAP_MEMORY, Nodes::kCtl, RmMapMemory},
    {NV_ESC_RM_UNMAP_MEMORY, Nodes::kCtl, RmUnmapMemory},
    {0x52, Nodes::kEither, nullptr},  // NV_ESC_RM_GET_EVENT_DATA: no event carries data
    {NV_ESC_RM_MAP_MEMORY_DMA, Nodes::kCtl, RmMapMemoryDma},
    {NV_ESC_RM_UNMAP_MEMORY_DMA, Nodes::kCtl, RmUnmapMemoryDma},
    {NV_ESC_RM_UPDATE_DEVICE_MAPPING_INFO, Nodes::kCtl, RmUpdateDeviceMappingInfo},
    {NV_ESC_CARD_INFO, Nodes::kCtl, CardInfo},
    {NV_ESC_REGISTER_FD, Nodes::kEither, RegisterFd},
    {NV_ESC_ALLOC_OS_EVENT, Nodes::kEither, AllocOsEvent},
    {NV_ESC_FREE_OS_EVENT, Nodes::kEither, FreeOsEvent},
    {NV_ESC_CHECK_VERSION_STR, Nodes::kCtl, CheckVersionStr},
    {NV_ESC_ATTACH_GPUS_TO_FD, Nodes::kCtl, AttachGpusToFd},
    {NV_ESC_SYS_PARAMS, Nodes::kCtl, SysParams},
    {NV_ESC_NUMA_INFO, Nodes::kGpu, NumaInfo},
    {NV_ESC_WAIT_OPEN_COMPLETE, Nodes::kEither, WaitOpenComplete},
};

// The spec of an escape with a struct of this size, or null. There are two forms of NV_ESC_RM_ALLOC.
const abi::Spec* FindSpec(const abi::Table& table, uint32_t number, uint32_t size) {
  if (size == 0) return nullptr;
  const abi::Spec* first = abi::Find(table.escapes, number);
  if (first == nullptr || first->shape != abi::Shape::kArray) return abi::Find(table.escapes, number, size);
  return size % first->size == 0 ? first : nullptr;
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
  const auto escape = std::find_if(std::begin(kEscapes), std::end(kEscapes),
                                   [number](const Escape& each) { return each.number == number; });
  if (escape == std::end(kEscapes) || abi::Find(context.machine.table().escapes, number) == nullptr) {
    context.machine.unknowns.Report(NumberSpace::kEscape, number, size);
    return EINVAL;
  }
  const abi::Spec* spec = FindSpec(context.machine.table(), number, size);
  if (spec == nullptr || params.size() != size) return EINVAL;
  if (!NodeFits(escape->nodes, context.file.node.device_class)) return EINVAL;
  const NvStatus status = escape->run == nullptr ? NV_ERR_NOT_SUPPORTED : escape->run(context, params);
  // Without a status in the struct a failure is the ioctl's errno.
  if (spec->status_offset == abi::kNone) return status == NV_OK ? 0 : EINVAL;
  params.PutU32(spec->status_offset, status);
  return 0;
}

}  // namespace nvshim::broker::sim
