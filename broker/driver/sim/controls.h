// How NV_ESC_RM_CONTROL commands are answered. answers.cc is the list: one row per command with the kind of
// answer and the reason for it; the few that need logic name a function from the controls_*.cc files. Runs
// under the driver's lock; parameters are exactly as long as the driver's version has them, what lies in them
// is not trusted.
#ifndef BROKER_DRIVER_SIM_CONTROLS_H_
#define BROKER_DRIVER_SIM_CONTROLS_H_

#include <cstdint>
#include <span>
#include <string_view>

#include "broker/driver/sim/escapes.h"

namespace nvshim::broker::sim {

// One control on one object.
struct ControlContext {
  EscapeContext& escape;
  Client& client;
  Object& object;
  uint32_t params_segment;
  Bytes params;

  Machine& machine() { return escape.machine; }
  const Gpu& gpu() { return escape.machine.gpu(object.gpu); }
  const Profile& profile() { return *gpu().profile; }
  const Layout& layout() { return escape.machine.layout(); }
  VideoHeap& heap() { return escape.machine.heap(object.gpu); }
  // The buffer behind the pointer at `offset` of the parameters; empty for NULL.
  Bytes Child(uint32_t offset) { return escape.Child(params_segment, offset); }
};

enum class AnswerKind : uint8_t {
  kOk,      // NV_OK, parameters untouched
  kZero,    // NV_OK, parameters all zero
  kFields,  // NV_OK, parameters zero but for the fields
  kRefuse,  // NV_ERR_NOT_SUPPORTED on purpose: the client shows N/A or goes another way
  kCode,    // what `run` says
};

struct Field {
  uint16_t offset;
  uint8_t size;  // bytes: 1, 2, 4 or 8
  uint64_t value;
};

struct Answer {
  uint32_t number;
  AnswerKind kind;
  std::string_view name;
  std::string_view why;  // the client that asks, or the header that defines the answer
  bool guess = false;    // the value was accepted by the clients but never compared with a board
  NvStatus (*run)(ControlContext&) = nullptr;
  std::span<const Field> fields = {};
  // Of kFields and kCode for commands that only gss_legacy of the ABI tables covers, which take any length:
  // the length whose layout is known. Other commands are as long as the table of the driver's version says.
  uint32_t observed_size = 0;
};

// Null for a number that is not in the list.
const Answer* FindAnswer(uint32_t number);
std::span<const Answer> Answers();

// ---- typed answers ----

// controls_system.cc: NV0000, on the client
NvStatus SystemGetBuildVersion(ControlContext& context);
NvStatus GpuGetAttachedIds(ControlContext& context);
NvStatus GpuGetProbedIds(ControlContext& context);
NvStatus GpuAttachIds(ControlContext& context);
NvStatus GpuDetachIds(ControlContext& context);
NvStatus GpuAttachId(ControlContext& context);
NvStatus GpuGetActiveDeviceIds(ControlContext& context);
NvStatus GpuGetIdInfo(ControlContext& context);
NvStatus GpuGetIdInfoV2(ControlContext& context);
NvStatus GpuGetDeviceIds(ControlContext& context);
NvStatus SystemGetPciInfo(ControlContext& context);
NvStatus GpuGetUuidFromGpuId(ControlContext& context);
NvStatus GpuQueryDrainState(ControlContext& context);
NvStatus GpuAcctGetAccountingState(ControlContext& context);
NvStatus ClientGetAddrSpaceType(ControlContext& context);
uint32_t AddrSpaceType(const Memory& memory);
NvStatus SystemGetP2pCaps(ControlContext& context);  // both versions
NvStatus SystemGetP2pCapsMatrix(ControlContext& context);

// controls_exports.cc: NV0000, objects inside of files
NvStatus ExportObjectToFd(ControlContext& context);
NvStatus ExportObjectsToFd(ControlContext& context);
NvStatus ImportObjectFromFd(ControlContext& context);
NvStatus ImportObjectsFromFd(ControlContext& context);
NvStatus GetExportObjectInfo(ControlContext& context);

// controls_device.cc: NV0080, and those of channels
NvStatus GpuGetClasslist(ControlContext& context);
NvStatus GpuGetClasslistV2(ControlContext& context);
NvStatus GpuGetBrandCaps(ControlContext& context);
NvStatus SystemGetNumHeads(ControlContext& context);
NvStatus FifoDisableChannels(ControlContext& context);
NvStatus FifoGetChannellist(ControlContext& context);
NvStatus GetClassEngineid(ControlContext& context);
NvStatus GetWorkSubmitToken(ControlContext& context);

// controls_gpu.cc: NV2080, the GPU itself
NvStatus GpuGetNameString(ControlContext& context);
NvStatus GpuGetShortNameString(ControlContext& context);
NvStatus GpuGetGidInfo(ControlContext& context);
NvStatus GpuGetId(ControlContext& context);
NvStatus GpuGetEngines(ControlContext& context);
NvStatus GpuGetEnginesV2(ControlContext& context);
NvStatus GpuQueryEccStatus(ControlContext& context);
NvStatus GpuQueryEccConfiguration(ControlContext& context);
NvStatus ZeroWithEcc(ControlContext& context);  // error counts: all 0 where errors are counted
NvStatus FbGetRowRemapperHistogram(ControlContext& context);
NvStatus GpuGetInforomObjectVersion(ControlContext& context);
NvStatus GpuGetOemBoardInfo(ControlContext& context);
NvStatus TimerGetTime(ControlContext& context);
NvStatus TimerGetGpuCpuTimeCorrelationInfo(ControlContext& context);
NvStatus McGetArchInfo(ControlContext& context);
NvStatus BusGetPciInfo(ControlContext& context);
NvStatus BusGetPciBarInfo(ControlContext& context);
NvStatus BusGetPcieSupportedGpuAtomics(ControlContext& context);
NvStatus CeGetAllCaps(ControlContext& context);
NvStatus CeGetCePceMask(ControlContext& context);
NvStatus GspGetFeatures(ControlContext& context);

// controls_gr.cc: NV2080, the shader array
NvStatus GrGetGlobalSmOrder(ControlContext& context);
NvStatus GrGetGpcMask(ControlContext& context);
NvStatus GrGetTpcMask(ControlContext& context);
NvStatus GrGetSmToGpcTpcMappings(ControlContext& context);
NvStatus GrGetCtxBufferSize(ControlContext& context);

// controls_lists.cc: NV2080 and NV0080, the {index, data} lists
NvStatus GpuGetInfoV2(ControlContext& context);
NvStatus FbGetInfo(ControlContext& context);
NvStatus FbGetInfoV2(ControlContext& context);
NvStatus BusGetInfo(ControlContext& context);
NvStatus BusGetInfoV2(ControlContext& context);
NvStatus GrGetInfo(ControlContext& context);
NvStatus DeviceGrGetInfo(ControlContext& context);
NvStatus BiosGetInfo(ControlContext& context);
NvStatus GetSurfaceInfo(ControlContext& context);

// controls_sensors.cc: temperature, power, load
NvStatus ThermalSystemExecute(ControlContext& context);
NvStatus PowerMonitorInfo(ControlContext& context);
NvStatus PowerMonitorStatus(ControlContext& context);
NvStatus CodecUtilization(ControlContext& context);

// controls_clocks.cc: commands that no public header names
NvStatus ClockDomainMask(ControlContext& context);
NvStatus ClockValues(ControlContext& context);
NvStatus ClockProgrammableMask(ControlContext& context);
NvStatus ClockPercent(ControlContext& context);

}  // namespace nvshim::broker::sim

#endif  // BROKER_DRIVER_SIM_CONTROLS_H_
