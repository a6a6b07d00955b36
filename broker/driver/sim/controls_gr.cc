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
  // {globalSmId[512]{gpcId, localTpcId, localSmId, globalTpcId, virtualGpcId, migratableTpcId, and with newer
  // drivers ugpuId, physicalCpcId, virtualTpcId}, numSm, numTpc, ...}
  constexpr size_t kEntries = 512;
  const size_t entry_bytes = context.layout().sm_order_sms / kEntries;
  Bytes entries = context.params.Sub(0, context.layout().sm_order_sms);
  entries.Fill(0);
  uint32_t sm = 0;
  ForEachTpc(context.profile(), [&](uint32_t gpc, uint32_t local, uint32_t global) {
    for (uint32_t local_sm = 0; local_sm < kSmsPerTpc; ++local_sm, ++sm) {
      Bytes entry = entries.Sub(sm * entry_bytes, entry_bytes);
      entry.PutU16(0, static_cast<uint16_t>(gpc));
      entry.PutU16(2, static_cast<uint16_t>(local));
      entry.PutU16(4, static_cast<uint16_t>(local_sm));
      entry.PutU16(6, static_cast<uint16_t>(global));
      entry.PutU16(8, static_cast<uint16_t>(gpc));
      entry.PutU16(10, static_cast<uint16_t>(local));
      entry.PutU16(16, static_cast<uint16_t>(local));  // virtualTpcId, outside of older entries
    }
  });
  context.params.PutU16(context.layout().sm_order_sms, static_cast<uint16_t>(context.profile().sms()));
  context.params.PutU16(context.layout().sm_order_tpcs, static_cast<uint16_t>(context.profile().tpcs()));
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
  // {smId[]{gpcId, tpcId}, smCount, grRouteInfo}
  const uint32_t count_offset = context.layout().sm_mappings_count, sms_max = count_offset / 8;
  uint32_t sm = 0;
  ForEachTpc(context.profile(), [&](uint32_t gpc, uint32_t local, uint32_t) {
    for (uint32_t i = 0; i < kSmsPerTpc && sm < sms_max; ++i, ++sm) {
      context.params.PutU32(8 * sm, gpc);
      context.params.PutU32(8 * sm + 4, local);
    }
  });
  context.params.PutU32(count_offset, sm);
  return NV_OK;
}

NvStatus GrGetCtxBufferSize(ControlContext& context) {
  // {hChannel, totalBufferSize}: about what a board of 100 SMs needs; only printed by tools.
  if (context.client.Find(context.params.U32(0)) == nullptr) return NV_ERR_OBJECT_NOT_FOUND;
  context.params.PutU64(8, uint64_t{context.profile().sms()} << 18);
  return NV_OK;
}

}  // namespace nvshim::broker::sim
