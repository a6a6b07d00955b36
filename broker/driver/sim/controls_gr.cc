// NV2080_CTRL_CMD_GR_*: how the shader array is built. SMs are numbered as hardware does: one TPC of each GPC
// in turn, GPCs with TPCs left over at the end.
#include <algorithm>

#include "broker/driver/sim/controls.h"

namespace nvshim::broker::sim {
namespace {

constexpr uint32_t kSmsPerTpc = 2;

// Calls tpc(gpc, local index, global index) for every TPC in the order of global numbers.
template <typename F>
void ForEachTpc(const Profile& profile, F&& tpc) {
  uint32_t global = 0;
  for (uint32_t local = 0; local < profile.tpcs_per_gpc_max; ++local)
    for (uint32_t gpc = 0; gpc < profile.tpcs_per_gpc.size(); ++gpc)
      if (local < profile.tpcs_per_gpc[gpc]) tpc(gpc, local, global++);
}

}  // namespace

NvStatus GrGetGlobalSmOrder(ControlContext& context) {
  // {globalSmId[512]{gpcId, localTpcId, localSmId, globalTpcId, virtualGpcId, migratableTpcId}, numSm,
  // numTpc, ...}
  constexpr size_t kEntryBytes = 12, kEntriesBytes = 6144;
  Bytes entries = context.params.Sub(0, kEntriesBytes);
  entries.Fill(0);
  uint32_t sm = 0;
  ForEachTpc(context.profile(), [&](uint32_t gpc, uint32_t local, uint32_t global) {
    for (uint32_t local_sm = 0; local_sm < kSmsPerTpc; ++local_sm, ++sm) {
      entries.PutU16(sm * kEntryBytes + 0, static_cast<uint16_t>(gpc));
      entries.PutU16(sm * kEntryBytes + 2, static_cast<uint16_t>(local));
      entries.PutU16(sm * kEntryBytes + 4, static_cast<uint16_t>(local_sm));
      entries.PutU16(sm * kEntryBytes + 6, static_cast<uint16_t>(global));
      entries.PutU16(sm * kEntryBytes + 8, static_cast<uint16_t>(gpc));
      entries.PutU16(sm * kEntryBytes + 10, static_cast<uint16_t>(local));
    }
  });
  context.params.PutU16(6144, static_cast<uint16_t>(context.profile().sms()));
  context.params.PutU16(6146, static_cast<uint16_t>(context.profile().tpcs()));
  return NV_OK;
}

NvStatus GrGetGpcMask(ControlContext& context) {
  context.params.PutU32(16, (1u << context.profile().tpcs_per_gpc.size()) - 1);
  return NV_OK;
}

NvStatus GrGetTpcMask(ControlContext& context) {
  const uint32_t gpc = context.params.U32(16);  // {grRouteInfo, gpcId, tpcMask}
  if (gpc >= context.profile().tpcs_per_gpc.size()) return NV_ERR_INVALID_ARGUMENT;
  context.params.PutU32(20, (1u << context.profile().tpcs_per_gpc[gpc]) - 1);
  return NV_OK;
}

NvStatus GrGetSmToGpcTpcMappings(ControlContext& context) {
  // {smId[144]{gpcId, tpcId}, smCount, grRouteInfo}
  constexpr uint32_t kSmsMax = 144, kCountOffset = 1152;
  uint32_t sm = 0;
  ForEachTpc(context.profile(), [&](uint32_t gpc, uint32_t local, uint32_t) {
    for (uint32_t i = 0; i < kSmsPerTpc && sm < kSmsMax; ++i, ++sm) {
      context.params.PutU32(8 * sm, gpc);
      context.params.PutU32(8 * sm + 4, local);
    }
  });
  context.params.PutU32(kCountOffset, sm);
  return NV_OK;
}

NvStatus GrGetCtxBufferSize(ControlContext& context) {
  // {hChannel, totalBufferSize}: about what a board of 100 SMs needs; only printed by tools.
  if (context.client.Find(context.params.U32(0)) == nullptr) return NV_ERR_OBJECT_NOT_FOUND;
  context.params.PutU64(8, uint64_t{context.profile().sms()} << 18);
  return NV_OK;
}

}  // namespace nvshim::broker::sim
