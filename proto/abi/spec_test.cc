// Laws of the ABI tables: look-up finds what is there and nothing else, the arrays are sorted, and the layout
// facts that shim and broker take apart by hand agree with the tables.
#include "proto/abi/spec.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "proto/abi/exported_objects.h"

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
    EXPECT_EQ(choice.below, table);
    EXPECT_TRUE(choice.exact);
  }
}

TEST(SpecTest, AnotherReleaseOfABranchGetsTheNearestOlderTableElseTheNearestNewer) {
  const std::pair<const char*, const char*> expected[] = {
      {"535.54.03", "535.261.03"}, {"535.261.02", "535.261.03"}, {"535.261.04", "535.261.03"},
      {"535.300", "535.261.03"},   {"580.65.06", "580.95.05"},   {"580.100.01", "580.95.05"},
      {"580.126.09", "580.95.05"}, {"580.126.21", "580.126.20"}, {"580.142", "580.126.20"},
      {"595.45.03", "595.45.04"},  {"550.163.02", "550.163.01"}, {"570.86.15", "570.195.03"},
  };
  for (const auto& [version, table] : expected) {
    const Choice choice = ChooseTable(version);
    ASSERT_NE(choice.table, nullptr) << version;
    EXPECT_EQ(choice.table->driver_version, table) << version;
    EXPECT_FALSE(choice.exact) << version;
  }
}

TEST(SpecTest, UnknownBranchesAndWhatIsNoVersionHaveNoChoice) {
  for (const char* version : {"534.261.03", "53.5.261", "5350.261.03", "", "535", "535.", "535.261.",
                              "535.261.03.1", "535.261.03-rc", "535..03", "-535.261.03", "99999999999.1.1"})
    EXPECT_EQ(ChooseTable(version).table, nullptr) << version;
}

TEST(SpecTest, TheNearestTablesAreThoseOfAnyBranch) {
  const Table* const first = Tables().data[0];
  const Table* const second = Tables().data[1];
  const Table* const last = Tables().data[Tables().size - 1];
  const std::tuple<const char*, const Table*, const Table*> expected[] = {
      {"470.256.02", nullptr, first}, {"545.29.06", first, second}, {"700.1", last, nullptr}};
  for (const auto& [version, below, above] : expected) {
    EXPECT_EQ(ChooseTable(version).below, below) << version;
    EXPECT_EQ(ChooseTable(version).above, above) << version;
  }
}

TEST(SpecTest, ReleasesAreListedOldestFirst) {
  const List<const Table*> tables = Tables();
  ASSERT_EQ(tables.size, 6u);
  for (size_t i = 1; i < tables.size; ++i)
    EXPECT_NE(ChooseTable(tables.data[i]->driver_version).table, tables.data[i - 1]);
  EXPECT_EQ(tables.data[3]->driver_version, "580.95.05");
  EXPECT_EQ(tables.data[4]->driver_version, "580.126.20");
}

// ---- Laws of every line of every version ----

template <typename Check>
void ForEachList(Check check) {
  for (const Table* table : Tables())
    for (const SpecList* specs : {&table->escapes, &table->controls, &table->classes, &table->uvm})
      check(*table, *specs);
}

template <typename Check>
void ForEachSpec(Check check) {
  ForEachList([&](const Table& table, const SpecList& specs) {
    for (const Spec& spec : specs) {
      SCOPED_TRACE(std::string(table.driver_version) + " " + std::string(spec.name));
      check(spec);
    }
  });
}

TEST(SpecTest, EveryListIsSortedAndHasEachNumberAndSizeOnce) {
  ForEachList([](const Table&, const SpecList& specs) {
    for (size_t i = 1; i < specs.size; ++i) {
      const Spec &before = specs[i - 1], &spec = specs[i];
      EXPECT_LT(std::pair(before.number, before.size), std::pair(spec.number, spec.size)) << spec.name;
    }
  });
}

TEST(SpecTest, WhatMayBlockDoesSoInEveryVersion) {
  std::map<std::string_view, bool> blocks;
  ForEachSpec([&](const Spec& spec) {
    const auto [known, is_new] = blocks.emplace(spec.name, spec.may_block);
    EXPECT_EQ(known->second, spec.may_block);
  });
}

TEST(SpecTest, EverySpecIsFoundByItsNumberAndSize) {
  ForEachList([](const Table&, const SpecList& specs) {
    for (const Spec& spec : specs) EXPECT_EQ(Find(specs, spec.number, spec.size), &spec) << spec.name;
  });
}

TEST(SpecTest, NoNumberIsFoundThatNoSpecHas) {
  ForEachList([](const Table&, const SpecList& specs) {
    std::set<uint32_t> numbers;
    for (const Spec& spec : specs) numbers.insert(spec.number);
    for (uint32_t number : numbers) {
      for (uint32_t bit = 1; bit != 0; bit <<= 1)
        if (!numbers.contains(number ^ bit)) {
          EXPECT_EQ(Find(specs, number ^ bit), nullptr) << (number ^ bit);
        }
    }
  });
}

TEST(SpecTest, OnlyRmAllocHasTwoSpecsOfOneNumberOrName) {
  ForEachList([](const Table&, const SpecList& specs) {
    std::set<uint32_t> numbers;
    std::set<std::string_view> names;
    for (const Spec& spec : specs) {
      const bool is_new = numbers.insert(spec.number).second && names.insert(spec.name).second;
      EXPECT_TRUE(is_new || spec.name == "NV_ESC_RM_ALLOC") << spec.name;
    }
  });
}

// What a spec says of the bytes of its struct: each field, and how wide it is.
std::vector<std::pair<uint32_t, uint32_t>> FieldsOf(const Spec& spec) {
  std::vector<std::pair<uint32_t, uint32_t>> fields;
  for (const Pointer& pointer : spec.pointers) fields.emplace_back(pointer.offset, 8);
  for (const FdField& fd : spec.fds) fields.emplace_back(fd.offset, 4);
  for (uint16_t client : spec.clients) fields.emplace_back(client, 4);
  for (uint16_t object : spec.objects) fields.emplace_back(object, 4);
  for (uint32_t at = 0; at < share_policy::kSize && spec.share_policy_offset != kNone; at += 4)
    fields.emplace_back(spec.share_policy_offset + at, 4);
  if (spec.status_offset != kNone) fields.emplace_back(spec.status_offset, 4);
  // One count may serve several pointers.
  std::set<uint32_t> counts;
  for (const Pointer& pointer : spec.pointers)
    if (pointer.count_offset != kNone) counts.insert(pointer.count_offset);
  for (uint32_t count : counts) fields.emplace_back(count, 4);
  return fields;
}

TEST(SpecTest, EveryFieldLiesInsideItsStructAndIsAligned) {
  ForEachSpec([](const Spec& spec) {
    for (const auto& [offset, width] : FieldsOf(spec)) {
      EXPECT_LE(offset + width, spec.size);
      EXPECT_EQ(offset % width, 0u);
    }
  });
}

TEST(SpecTest, NoTwoFieldsOfAStructShareBytes) {
  ForEachSpec([](const Spec& spec) {
    std::vector<std::pair<uint32_t, uint32_t>> fields = FieldsOf(spec);
    std::sort(fields.begin(), fields.end());
    for (size_t i = 1; i < fields.size(); ++i)
      EXPECT_LE(fields[i - 1].first + fields[i - 1].second, fields[i].first);
  });
}

TEST(SpecTest, EveryFollowedPointerHasALengthTheDriverTakes) {
  ForEachSpec([](const Spec& spec) {
    for (const Pointer& pointer : spec.pointers) {
      EXPECT_EQ(pointer.element_size == 0, pointer.direction == Direction::kNull);
      EXPECT_GE(pointer.size_max, pointer.element_size);
      EXPECT_LE(pointer.size_max, kEmbeddedSizeMax);
    }
  });
}

TEST(SpecTest, SizesAreWhatAnIoctlOrAnEmbeddedBufferCanHave) {
  for (const Table* table : Tables())
    for (const Spec& spec : table->escapes) EXPECT_LE(spec.size, IocSize(~0u)) << spec.name;
  ForEachSpec([](const Spec& spec) {
    EXPECT_LE(spec.size, kEmbeddedSizeMax);
    EXPECT_EQ(spec.size, spec.size_max) << "only the GSS-legacy range leaves the size to the caller";
  });
}

// What other controls and classes do with a file the core does not follow.
TEST(SpecTest, OnlyControlsAboutObjectsInsideOfFilesNameFiles) {
  for (const Table* table : Tables())
    for (const SpecList* specs : {&table->controls, &table->classes})
      for (const Spec& spec : *specs) {
        const bool followed =
            specs == &table->controls &&
            std::count(std::begin(kExportControls), std::end(kExportControls), spec.number) != 0;
        for (const FdField& fd : spec.fds)
          EXPECT_TRUE(spec.withheld || fd.use == FdUse::kCookie || (followed && fd.use == FdUse::kFile))
              << table->driver_version << " " << spec.name;
      }
}

TEST(SpecTest, EveryEscapeOfAClientNamesItFirst) {
  for (const Table* table : Tables())
    for (const Spec& spec : table->escapes)
      if (spec.objects.size != 0) {
        ASSERT_NE(spec.clients.size, 0u) << spec.name;
        EXPECT_EQ(spec.clients.data[0], spec.name == "NV_ESC_EXPORT_TO_DMABUF_FD" ? 4 : 0) << spec.name;
      }
}

TEST(SpecTest, AControlOfTheGssLegacyRangeIsFoundWithoutALineOfItsOwn) {
  for (const Table* table : Tables()) {
    ASSERT_NE(table->gss_legacy, nullptr);
    EXPECT_EQ(FindControl(*table, 0x20808abc), table->gss_legacy);
    EXPECT_EQ(FindControl(*table, 0x2080cabc), nullptr) << "root only";
    EXPECT_EQ(FindControl(*table, 0x20800abc), nullptr);
    EXPECT_EQ(FindControl(*table, 0x2080014a), Find(table->controls, 0x2080014a));
  }
  EXPECT_EQ(FindControl(Table535(), 0x20808159)->size, 332u) << "its own line is more exact";
}

// ---- Layouts that shim and broker take apart ----

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
