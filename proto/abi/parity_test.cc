// Law: the tables say what the driver's headers say. Every line of every version is held against the facts of
// that version (facts.h), and every fact against a line: number, name, size, and each place of a client
// handle, an object handle, a descriptor, a status and a followed pointer with its length rule. So does what
// code takes apart by offsets of its own.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

#include "proto/abi/exported_objects.h"
#include "proto/abi/facts.h"
#include "proto/abi/spec.h"

namespace nvshim::abi {
namespace {

using Key = std::tuple<std::string, uint32_t, uint32_t>;  // kind, number, size of an escape

class ParityTest : public testing::TestWithParam<size_t> {
 protected:
  void SetUp() override {
    std::string problem;
    const auto facts = ReadFacts("proto/abi/facts/" + std::string(table().driver_version) + ".csv", &problem);
    ASSERT_TRUE(facts) << problem;
    for (const Fact& fact : *facts) {
      if (fact.kind == "struct")
        structs_[fact.name] = fact;
      else
        EXPECT_TRUE(facts_.emplace(KeyOf(fact.kind, fact.number, fact.size), fact).second) << fact.name;
    }
  }

  const Table& table() const { return *Tables().data[GetParam()]; }

  static Key KeyOf(const std::string& kind, uint32_t number, uint32_t size) {
    return {kind, number, kind == "escape" ? size : 0};
  }

  template <typename Check>
  void ForEach(Check check) {
    const std::pair<const char*, const SpecList*> kinds[] = {{"escape", &table().escapes},
                                                             {"uvm", &table().uvm},
                                                             {"class", &table().classes},
                                                             {"control", &table().controls}};
    for (const auto& [kind, specs] : kinds)
      for (const Spec& spec : *specs) {
        const auto fact = facts_.find(KeyOf(kind, spec.number, spec.size));
        if (fact == facts_.end())
          ADD_FAILURE() << kind << " " << spec.name << " with " << spec.size << " bytes is in no facts";
        else
          check(spec, fact->second);
      }
  }

  // The offset of `field` of a struct that code takes apart.
  uint32_t At(const std::string& name, const std::string& field) {
    const FactField* found = structs_[name].Find(field);
    EXPECT_NE(found, nullptr) << name << "." << field;
    return found == nullptr ? ~0u : found->offset;
  }

  std::map<Key, Fact> facts_;
  std::map<std::string, Fact> structs_;
};

std::set<uint32_t> OffsetsOf(const List<uint16_t>& offsets) { return {offsets.begin(), offsets.end()}; }

std::set<uint32_t> OffsetsOf(const Fact& fact, std::string_view role) {
  std::set<uint32_t> offsets;
  for (const FactField& field : fact.fields)
    if (field.role == role)
      for (uint32_t i = 0; i < field.repeat; ++i) offsets.insert(field.offset + 4 * i);
  return offsets;
}

TEST_P(ParityTest, EveryLineHasTheNameAndSizeOfTheHeaders) {
  ForEach([](const Spec& spec, const Fact& fact) {
    EXPECT_EQ(spec.name, fact.name);
    EXPECT_EQ(spec.size, fact.size) << spec.name;
  });
}

TEST_P(ParityTest, EveryFactHasALine) {
  size_t lines = 0;
  ForEach([&](const Spec&, const Fact&) { ++lines; });
  EXPECT_EQ(lines, facts_.size());
}

TEST_P(ParityTest, EveryClientHandleIsKnown) {
  ForEach([](const Spec& spec, const Fact& fact) {
    EXPECT_EQ(OffsetsOf(spec.clients), OffsetsOf(fact, "client")) << spec.name;
  });
}

TEST_P(ParityTest, ObjectHandlesStandWhereHeadersHaveHandles) {
  ForEach([](const Spec& spec, const Fact& fact) {
    const std::set<uint32_t> handles = OffsetsOf(fact, "object");
    for (uint16_t offset : spec.objects) EXPECT_TRUE(handles.contains(offset)) << spec.name << " " << offset;
  });
}

TEST_P(ParityTest, EveryDescriptorIsKnown) {
  ForEach([](const Spec& spec, const Fact& fact) {
    std::set<uint32_t> expected, seen;
    for (const FactField& field : fact.fields)
      if (field.role == "fd") expected.insert(field.offset);
    for (const FdField& fd : spec.fds) {
      // The upper half of a field of 8 bytes may have a line as well.
      const bool upper_half =
          std::any_of(fact.fields.begin(), fact.fields.end(), [&](const FactField& field) {
            return field.role == "fd" && field.width == 8 && fd.offset == field.offset + 4;
          });
      if (!upper_half) seen.insert(fd.offset);
    }
    EXPECT_EQ(seen, expected) << spec.name;
  });
}

TEST_P(ParityTest, EverySharePolicyIsKnown) {
  ForEach([](const Spec& spec, const Fact& fact) {
    const std::set<uint32_t> policy = OffsetsOf(fact, "share");
    EXPECT_EQ(spec.share_policy_offset, policy.empty() ? kNone : *policy.begin()) << spec.name;
  });
}

TEST_P(ParityTest, TheStatusStandsWhereTheHeadersHaveIt) {
  ForEach([](const Spec& spec, const Fact& fact) {
    const std::set<uint32_t> status = OffsetsOf(fact, "status");
    EXPECT_EQ(spec.status_offset, status.empty() ? kNone : *status.begin()) << spec.name;
  });
}

// A pointer that the driver follows and no line knows would make it read the worker's memory at the guest's
// address.
TEST_P(ParityTest, EveryPointerThatTheDriverFollowsIsKnownWithItsLength) {
  ForEach([](const Spec& spec, const Fact& fact) {
    for (const FactField& field : fact.fields) {
      if (field.role != "buffer") continue;
      const Pointer* pointer = std::find_if(spec.pointers.begin(), spec.pointers.end(),
                                            [&](const Pointer& each) { return each.offset == field.offset; });
      ASSERT_NE(pointer, spec.pointers.end()) << spec.name << "." << field.name;
      if (pointer->direction == Direction::kNull) continue;
      EXPECT_EQ(pointer->count_offset, field.count_offset.value_or(kNone)) << spec.name << "." << field.name;
      EXPECT_EQ(pointer->element_size, field.element_size) << spec.name << "." << field.name;
    }
  });
}

TEST_P(ParityTest, WhatALineTakesForAPointerIsOne) {
  ForEach([](const Spec& spec, const Fact& fact) {
    for (const Pointer& pointer : spec.pointers) {
      const char* role = pointer.direction == Direction::kNull ? "address" : "buffer";
      EXPECT_TRUE(std::any_of(fact.fields.begin(), fact.fields.end(),
                              [&](const FactField& field) {
                                return field.offset == pointer.offset &&
                                       (field.role == role || field.role == "buffer");
                              }))
          << spec.name << " " << pointer.offset;
    }
  });
}

TEST_P(ParityTest, WhatBothSidesTakeApartThemselvesIsLaidOutAsTheySuppose) {
  const auto expect = [this](const char* name, uint32_t size, std::map<std::string, uint32_t> fields) {
    EXPECT_EQ(structs_[name].size, size) << name;
    for (const auto& [field, offset] : fields) EXPECT_EQ(offset, At(name, field)) << name << "." << field;
  };
  expect("NVOS00_PARAMETERS", nvos00::kSize,
         {{"hRoot", nvos00::kRoot},
          {"hObjectParent", nvos00::kObjectParent},
          {"hObjectOld", nvos00::kObjectOld},
          {"status", nvos00::kStatus}});
  expect("nv_ioctl_nvos02_parameters_with_fd", nvos02::kSize,
         {{"params.hRoot", nvos02::kRoot},
          {"params.hObjectParent", nvos02::kObjectParent},
          {"params.hObjectNew", nvos02::kObjectNew},
          {"params.hClass", nvos02::kClass},
          {"params.flags", nvos02::kFlags},
          {"params.pMemory", nvos02::kMemory},
          {"params.limit", nvos02::kLimit},
          {"params.status", nvos02::kStatus},
          {"fd", nvos02::kFd}});
  expect("NVOS21_PARAMETERS", nvos21::kSize,
         {{"hRoot", nvos21::kRoot},
          {"hObjectParent", nvos21::kObjectParent},
          {"hObjectNew", nvos21::kObjectNew},
          {"hClass", nvos21::kClass},
          {"pAllocParms", nvos21::kAllocParms},
          {"paramsSize", nvos21::kParamsSize},
          {"status", nvos21::kStatus}});
  expect("NVOS64_PARAMETERS", nvos64::kSize,
         {{"hRoot", nvos64::kRoot},
          {"hObjectParent", nvos64::kObjectParent},
          {"hObjectNew", nvos64::kObjectNew},
          {"hClass", nvos64::kClass},
          {"pAllocParms", nvos64::kAllocParms},
          {"pRightsRequested", nvos64::kRightsRequested},
          {"paramsSize", nvos64::kParamsSize},
          {"flags", nvos64::kFlags},
          {"status", nvos64::kStatus}});
  expect("NVOS54_PARAMETERS", nvos54::kSize,
         {{"hClient", nvos54::kClient},
          {"hObject", nvos54::kObject},
          {"cmd", nvos54::kCmd},
          {"flags", nvos54::kFlags},
          {"params", nvos54::kParams},
          {"paramsSize", nvos54::kParamsSize},
          {"status", nvos54::kStatus}});
  expect("nv_ioctl_nvos33_parameters_with_fd", 56,
         {{"params.hClient", nvos33::kClient},
          {"params.hDevice", nvos33::kDevice},
          {"params.hMemory", nvos33::kMemory},
          {"params.status", nvos33::kStatus},
          {"fd", nvos33::kFd}});
  expect(
      "RS_SHARE_POLICY", share_policy::kSize,
      {{"target", share_policy::kTarget}, {"type", share_policy::kType}, {"action", share_policy::kAction}});
  expect("NV0000_CTRL_OS_UNIX_EXPORT_OBJECT_TO_FD_PARAMS", 24,
         {{"object.type", export_object::kType},
          {"object.data.rmObject.hDevice", export_object::kDevice},
          {"object.data.rmObject.hObject", export_object::kObject},
          {"fd", export_object::kFd},
          {"flags", export_object::kFlags}});
  expect("NV0000_CTRL_OS_UNIX_IMPORT_OBJECT_FROM_FD_PARAMS", 20,
         {{"fd", import_object::kFd},
          {"object.type", import_object::kType},
          {"object.data.rmObject.hParent", import_object::kParent},
          {"object.data.rmObject.hObject", import_object::kObject}});
  expect("NV0000_CTRL_OS_UNIX_EXPORT_OBJECTS_TO_FD_PARAMS", 2128,
         {{"fd", export_objects::kFd},
          {"hDevice", export_objects::kDevice},
          {"maxObjects", export_objects::kMaxObjects},
          {"metadata", export_objects::kMetadata},
          {"objects", export_objects::kObjects},
          {"numObjects", export_objects::kCount},
          {"index", export_objects::kIndex}});
  expect("NV0000_CTRL_OS_UNIX_IMPORT_OBJECTS_FROM_FD_PARAMS", 652,
         {{"fd", import_objects::kFd},
          {"hParent", import_objects::kParent},
          {"objects", import_objects::kObjects},
          {"objectTypes", import_objects::kTypes},
          {"numObjects", import_objects::kCount},
          {"index", import_objects::kIndex}});
  // The lists reach to what follows them.
  EXPECT_EQ(export_objects::kObjects + 4 * export_objects::kCountMax, export_objects::kCount);
  EXPECT_EQ(import_objects::kTypes + import_objects::kCountMax, import_objects::kCount);
  EXPECT_EQ(import_objects::kObjects + 4 * import_objects::kCountMax, import_objects::kTypes);
  // What preload/marshal.cc and broker/driver/kernel have numbers of their own for.
  expect("nv_ioctl_xfer_t", 16, {{"cmd", 0}, {"size", 4}, {"ptr", 8}});
  expect("NVOS34_PARAMETERS", 32,
         {{"hClient", nvos33::kClient},
          {"hDevice", nvos33::kDevice},
          {"hMemory", nvos33::kMemory},
          {"status", 24}});
  expect("nv_ioctl_rm_api_version_t", 72, {{"versionString", 8}});
  expect("UVM_INITIALIZE_PARAMS", 16, {{"flags", 0}});
  EXPECT_EQ(Find(table().uvm, 71)->status_offset, 20) << "UVM_POPULATE_PAGEABLE";
}

INSTANTIATE_TEST_SUITE_P(AllVersions, ParityTest, testing::Range<size_t>(0, Tables().size),
                         [](const testing::TestParamInfo<size_t>& info) {
                           std::string name(Tables().data[info.param]->driver_version);
                           std::replace(name.begin(), name.end(), '.', '_');
                           return name;
                         });

}  // namespace
}  // namespace nvshim::abi
