#include "broker/abi_list.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "google/protobuf/struct.pb.h"
#include "google/protobuf/util/json_util.h"
#include "proto/abi/spec.h"

namespace nvshim::broker {
namespace {

TEST(AbiListTest, TextHasALinePerVersionBelowItsHeading) {
  const std::string text = AbiListText();
  EXPECT_EQ(static_cast<size_t>(std::count(text.begin(), text.end(), '\n')), abi::Tables().size + 1);
  for (const abi::Table* table : abi::Tables())
    EXPECT_NE(text.find("\n" + std::string(table->driver_version) + " "), std::string::npos);
}

TEST(AbiListTest, JsonHasTheCountsOfEveryVersion) {
  google::protobuf::ListValue list;
  ASSERT_TRUE(google::protobuf::util::JsonStringToMessage(AbiListJson(), &list).ok());
  ASSERT_EQ(static_cast<size_t>(list.values_size()), abi::Tables().size);
  for (size_t i = 0; i < abi::Tables().size; ++i) {
    const abi::Table& table = *abi::Tables().data[i];
    const auto& fields = list.values(static_cast<int>(i)).struct_value().fields();
    EXPECT_EQ(fields.at("driver_version").string_value(), table.driver_version);
    EXPECT_EQ(fields.at("escapes").number_value(), table.escapes.size);
    EXPECT_EQ(fields.at("controls").number_value(), table.controls.size);
    EXPECT_EQ(fields.at("classes").number_value(), table.classes.size);
    EXPECT_EQ(fields.at("uvm").number_value(), table.uvm.size);
    EXPECT_GT(fields.at("withheld").number_value(), 0);
  }
}

}  // namespace
}  // namespace nvshim::broker
