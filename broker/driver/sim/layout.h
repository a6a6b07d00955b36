// Where the fields lie that driver versions have in different places, as far as the simulated driver reads or
// writes them, and the last indices of the lists that it fills. All other offsets of the simulated driver are
// the same in every version that has a table. layout_test holds each offset against the facts of its version.
#ifndef BROKER_DRIVER_SIM_LAYOUT_H_
#define BROKER_DRIVER_SIM_LAYOUT_H_

#include <cstdint>
#include <span>
#include <string_view>

#include "proto/abi/spec.h"

namespace nvshim::broker::sim {

struct Layout {
  std::string_view driver_version;  // the oldest that is laid out this way

  uint16_t map_dma_offset;  // NVOS46_PARAMETERS.dmaOffset
  uint16_t unmap_dma_size;  // NVOS47_PARAMETERS.size, or abi::kNone: a mapping is unmapped as a whole

  // NV2080_CTRL_GPU_QUERY_ECC_STATUS_PARAMS: `units` fill what is before bFatalPoisonError.
  uint16_t ecc_fatal_poison_error, ecc_flags;
  // NV2080_CTRL_GR_GET_SM_TO_GPC_TPC_MAPPINGS_PARAMS: `smId` fills what is before it.
  uint16_t sm_mappings_count;
  // NV2080_CTRL_GR_GET_GLOBAL_SM_ORDER_PARAMS: `globalSmId`, always of 512 entries, fills what is before
  // numSm.
  uint16_t sm_order_sms, sm_order_tpcs;
  // NV2080_CTRL_CE_GET_ALL_CAPS_PARAMS: `capsTbl` fills what is before the mask.
  uint16_t ce_caps_present;

  uint16_t fb_info_index_max;  // NV2080_CTRL_FB_INFO_INDEX_MAX (ctrl2080fb.h)
  uint16_t gr_info_index_max;  // NV0080_CTRL_GR_INFO_INDEX_MAX (ctrl0080gr.h)
};

// That of the version of `table`.
const Layout& LayoutOf(const abi::Table& table);

}  // namespace nvshim::broker::sim

#endif  // BROKER_DRIVER_SIM_LAYOUT_H_
