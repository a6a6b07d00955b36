// Each layout is told from the one before it. One holds for the tables from its version on.
#include "broker/driver/sim/layout.h"

#include <iterator>

namespace nvshim::broker::sim {
namespace {

constexpr Layout k535 = {.driver_version = "535.261.03",
                         .map_dma_offset = 40,
                         .unmap_dma_size = abi::kNone,
                         .ecc_fatal_poison_error = 960,
                         .ecc_flags = 964,
                         .sm_mappings_count = 1152,
                         .sm_order_sms = 6144,
                         .sm_order_tpcs = 6146,
                         .ce_caps_present = 64,
                         .fb_info_index_max = 0x35,
                         .gr_info_index_max = 0x34};

constexpr Layout k550 = [] {
  Layout layout = k535;
  layout.driver_version = "550.163.01";
  layout.unmap_dma_size = 32;
  layout.ecc_fatal_poison_error = 1000;
  layout.ecc_flags = 1004;
  layout.ce_caps_present = 128;
  layout.fb_info_index_max = 0x36;
  layout.gr_info_index_max = 0x37;
  return layout;
}();

constexpr Layout k570 = [] {
  Layout layout = k550;
  layout.driver_version = "570.195.03";
  layout.ecc_fatal_poison_error = 1440;
  layout.ecc_flags = 1444;
  layout.sm_mappings_count = 1920;
  layout.fb_info_index_max = 0x38;
  layout.gr_info_index_max = 0x39;
  return layout;
}();

constexpr Layout k580 = [] {
  Layout layout = k570;
  layout.driver_version = "580.95.05";
  layout.map_dma_offset = 48;
  layout.sm_order_sms = 9216;
  layout.sm_order_tpcs = 9218;
  layout.fb_info_index_max = 0x3b;
  return layout;
}();

constexpr Layout k595 = [] {
  Layout layout = k580;
  layout.driver_version = "595.45.04";
  layout.ecc_fatal_poison_error = 1640;
  layout.ecc_flags = 1644;
  layout.gr_info_index_max = 0x3a;
  return layout;
}();

constexpr const Layout* kLayouts[] = {&k535, &k550, &k570, &k580, &k595};

}  // namespace

const Layout& LayoutOf(const abi::Table& wanted) {
  const Layout* const* next = std::begin(kLayouts);
  const Layout* layout = *next;
  for (const abi::Table* table : abi::Tables()) {  // oldest first
    if (next != std::end(kLayouts) && table->driver_version == (*next)->driver_version) layout = *next++;
    if (table == &wanted) break;
  }
  return *layout;
}

}  // namespace nvshim::broker::sim
