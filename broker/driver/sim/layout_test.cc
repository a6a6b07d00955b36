// Law: each field that lies in different places in different driver versions lies where a compiler says that
// the headers of the version have it.
#include "broker/driver/sim/layout.h"

#include <gtest/gtest.h>

#include <map>
#include <string>

#include "proto/abi/facts.h"

namespace nvshim::broker::sim {
namespace {

struct Place {
  const char* struct_name;
  const char* field;
  uint16_t Layout::*offset;
};

const Place kPlaces[] = {
    {"NVOS46_PARAMETERS", "dmaOffset", &Layout::map_dma_offset},
    {"NVOS47_PARAMETERS", "size", &Layout::unmap_dma_size},
    {"NV2080_CTRL_GPU_QUERY_ECC_STATUS_PARAMS", "bFatalPoisonError", &Layout::ecc_fatal_poison_error},
    {"NV2080_CTRL_GPU_QUERY_ECC_STATUS_PARAMS", "flags", &Layout::ecc_flags},
    {"NV2080_CTRL_GR_GET_SM_TO_GPC_TPC_MAPPINGS_PARAMS", "smCount", &Layout::sm_mappings_count},
    {"NV2080_CTRL_GR_GET_GLOBAL_SM_ORDER_PARAMS", "numSm", &Layout::sm_order_sms},
    {"NV2080_CTRL_GR_GET_GLOBAL_SM_ORDER_PARAMS", "numTpc", &Layout::sm_order_tpcs},
    {"NV2080_CTRL_CE_GET_ALL_CAPS_PARAMS", "present", &Layout::ce_caps_present},
};

TEST(LayoutTest, FieldsLieWhereTheHeadersHaveThem) {
  for (const abi::Table* table : abi::Tables()) {
    const std::string version(table->driver_version);
    std::string problem;
    const auto facts = abi::ReadFacts("proto/abi/facts/" + version + ".csv", &problem);
    ASSERT_TRUE(facts) << problem;
    std::map<std::string, abi::Fact> structs;
    for (const abi::Fact& fact : *facts)
      if (fact.kind == "struct") structs[fact.name] = fact;
    for (const Place& place : kPlaces) {
      ASSERT_TRUE(structs.contains(place.struct_name)) << version << " " << place.struct_name;
      const abi::FactField* field = structs[place.struct_name].Find(place.field);
      EXPECT_EQ(LayoutOf(*table).*place.offset, field == nullptr ? abi::kNone : field->offset)
          << version << " " << place.struct_name << "." << place.field;
    }
    const abi::FactField* virtual_tpc =
        structs["NV2080_CTRL_GR_GET_GLOBAL_SM_ORDER_PARAMS"].Find("globalSmId[].virtualTpcId");
    if (virtual_tpc != nullptr) {
      EXPECT_EQ(virtual_tpc->offset, 16u) << version;
    }
  }
}

// The newest tables have layouts of their own: no version falls back onto the oldest by a name misspelt.
TEST(LayoutTest, EveryBranchIsToldApart) {
  std::map<std::string_view, std::string_view> layouts;  // by version of the table
  for (const abi::Table* table : abi::Tables())
    layouts[table->driver_version] = LayoutOf(*table).driver_version;
  for (const auto& [version, layout] : layouts) EXPECT_EQ(version.substr(0, 3), layout.substr(0, 3));
}

}  // namespace
}  // namespace nvshim::broker::sim
