// Laws of the ABI tables: look-up finds what is there and nothing else, the arrays are sorted, and the layout
// facts that shim and broker take apart by hand agree with the tables.
#include "proto/abi/spec.h"

#include <gtest/gtest.h>

namespace nvshim::abi {
namespace {

const Table& Table535() {
  const Table* table = FindTable("535.261.03");
  EXPECT_NE(table, nullptr);
  return *table;
}

TEST(SpecTest, UnknownVersionsHaveNoTable) {
  EXPECT_EQ(FindTable("535.261.3"), nullptr);
  EXPECT_EQ(FindTable(""), nullptr);
}

TEST(SpecTest, EveryTableIsTheExactChoiceForItsVersion) {
  for (const Table* table : Tables()) {
    const Choice choice = ChooseTable(table->driver_version);
    EXPECT_EQ(choice.table, table);
    EXPECT_TRUE(choice.exact);
  }
}

TEST(SpecTest, AnotherReleaseOfABranchGetsItsNearestTable) {
  for (const char* version : {"535.54.03", "535.261.02", "535.261.04", "535.300.10"}) {
    const Choice choice = ChooseTable(version);
    EXPECT_EQ(choice.table, &Table535()) << version;
    EXPECT_FALSE(choice.exact) << version;
  }
}

TEST(SpecTest, UnknownBranchesAndWhatIsNoVersionHaveNoChoice) {
  for (const char* version : {"534.261.03", "53.5.261", "5350.261.03", "", "535", "535.261", "535.261.03.1",
                              "535.261.03-rc", "535..03", "-535.261.03", "99999999999.1.1"})
    EXPECT_EQ(ChooseTable(version).table, nullptr) << version;
}

TEST(SpecTest, EveryListIsSortedByNumber) {
  for (const Table* table : Tables())
    for (const SpecList* specs : {&table->escapes, &table->controls, &table->classes, &table->uvm})
      for (size_t i = 1; i < specs->size; ++i) EXPECT_LE((*specs)[i - 1].number, (*specs)[i].number);
}

TEST(SpecTest, EverySpecIsFoundByItsNumberAndSize) {
  for (const Table* table : Tables())
    for (const SpecList* specs : {&table->escapes, &table->controls, &table->classes, &table->uvm})
      for (const Spec& spec : *specs) EXPECT_EQ(Find(*specs, spec.number, spec.size), &spec) << spec.name;
}

TEST(SpecTest, UnknownNumbersAreNotFound) {
  EXPECT_EQ(Find(Table535().controls, 0x20800103), nullptr);
  EXPECT_EQ(Find(Table535().escapes, 0xff), nullptr);
  EXPECT_EQ(Find(SpecList{}, 1), nullptr);
}

TEST(SpecTest, AllocHasTwoSizesToldApartBySize) {
  EXPECT_EQ(Find(Table535().escapes, 0x2b, nvos21::kSize)->status_offset, nvos21::kStatus);
  EXPECT_EQ(Find(Table535().escapes, 0x2b, nvos64::kSize)->status_offset, nvos64::kStatus);
  EXPECT_EQ(Find(Table535().escapes, 0x2b, 40), nullptr);
}

TEST(SpecTest, ControlParametersAreThoseOfNvos54) {
  const Spec* control = Find(Table535().escapes, 0x2a, nvos54::kSize);
  ASSERT_NE(control, nullptr);
  EXPECT_EQ(control->shape, Shape::kControl);
  EXPECT_EQ(control->status_offset, nvos54::kStatus);
  ASSERT_EQ(control->clients.size, 1u);
  EXPECT_EQ(control->clients.data[0], nvos54::kClient);
}

TEST(SpecTest, AllocMemoryIsTheStructOfNvos02) {
  const Spec* spec = Find(Table535().escapes, kAllocMemoryNumber, nvos02::kSize);
  ASSERT_NE(spec, nullptr);
  EXPECT_EQ(spec->status_offset, nvos02::kStatus);
  ASSERT_EQ(spec->fds.size, 1u);
  EXPECT_EQ(spec->fds.data[0].offset, nvos02::kFd);
}

TEST(SpecTest, ACommandNumberComesApartAsLinuxPutsItTogether) {
  constexpr uint32_t kControl = 0xc020462a;  // _IOWR('F', 0x2a, 32 bytes)
  EXPECT_EQ(IocType(kControl), kEscapeType);
  EXPECT_EQ(IocNumber(kControl), 0x2au);
  EXPECT_EQ(IocSize(kControl), 32u);
}

TEST(SpecTest, BuildVersionNamesThreeStringsOfOneLength) {
  const Spec* spec = Find(Table535().controls, 0x101);
  ASSERT_NE(spec, nullptr);
  ASSERT_EQ(spec->pointers.size, 3u);
  for (const Pointer& pointer : spec->pointers) {
    EXPECT_EQ(pointer.count_offset, 0);
    EXPECT_EQ(pointer.element_size, 1u);
    EXPECT_EQ(pointer.direction, Direction::kOut);
  }
}

}  // namespace
}  // namespace nvshim::abi
