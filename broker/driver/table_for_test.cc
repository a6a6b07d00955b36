// Law: a version of an unknown branch is turned down with the nearest versions that are known, and all of
// them.
#include "broker/driver/table_for.h"

#include <gtest/gtest.h>

#include <string>

namespace nvshim::broker {
namespace {

TEST(TableForTest, EachBranchThatHasATableIsServed) {
  for (const abi::Table* table : abi::Tables()) {
    const auto choice = TableFor(table->driver_version);
    ASSERT_TRUE(choice.ok()) << choice.status();
    EXPECT_EQ(choice->table, table);
    EXPECT_TRUE(choice->exact);
  }
  const auto release = TableFor("535.309.01");
  ASSERT_TRUE(release.ok()) << release.status();
  EXPECT_EQ(release->table->driver_version, "535.261.03");
  EXPECT_FALSE(release->exact);
}

TEST(TableForTest, OthersAreToldTheNearestAndAll) {
  const struct {
    const char* version;
    const char* says;
  } cases[] = {
      {"470.256.02", "\"470.256.02\" is of no branch that has tables; the nearest is 535.261.03. "},
      {"560.35.03", "; the nearest are 550.163.01 and 570.195.03. "},
      {"590.48.01", "; the nearest are 580.126.20 and 595.45.04. "},
      {"610.10", "; the nearest is 595.45.04. "},
      {"none", "\"none\" is of no branch that has tables. "},
      {"", "\"\" is of no branch that has tables. "},
  };
  for (const auto& [version, says] : cases) {
    const auto choice = TableFor(version);
    ASSERT_FALSE(choice.ok()) << version;
    const std::string message(choice.status().message());
    EXPECT_NE(message.find(says), std::string::npos) << message;
    for (const abi::Table* table : abi::Tables())
      EXPECT_NE(message.find(table->driver_version), std::string::npos) << message;
  }
}

}  // namespace
}  // namespace nvshim::broker
