// Laws of the answers: the table agrees with the ABI, and every profile answers with its own facts.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <set>

#include "broker/driver/sim/controls.h"
#include "broker/driver/sim/sim_test_calls.h"
#include "broker/driver/sim/uvm.h"
#include "proto/abi/spec.h"

namespace nvshim::broker::sim {
namespace {

TEST(AnswersTest, AreSortedAndFoundByNumber) {
  for (size_t i = 1; i < Answers().size(); ++i) EXPECT_LT(Answers()[i - 1].number, Answers()[i].number);
  for (const Answer& answer : Answers()) EXPECT_EQ(FindAnswer(answer.number), &answer);
  EXPECT_EQ(FindAnswer(0x12345678), nullptr);
}

TEST(AnswersTest, AreForCommandsThatSomeVersionHasAndKeepTheirMeaning) {
  for (const Answer& answer : Answers()) {
    bool reached = false;
    for (const abi::Table* table : abi::Tables()) {
      const abi::Spec* spec = abi::Find(table->controls, answer.number);
      reached = reached || abi::FindControl(*table, answer.number) != nullptr;
      if (spec == nullptr) continue;
      EXPECT_EQ(spec->name, answer.name) << table->driver_version;
      if (answer.observed_size != 0) {
        EXPECT_EQ(spec->size, answer.observed_size) << answer.name;
      }
      for (const Field& field : answer.fields)
        EXPECT_LE(uint32_t{field.offset} + field.size, spec->size)
            << table->driver_version << " " << answer.name;
    }
    EXPECT_TRUE(reached) << answer.name << " never reaches the driver";
  }
}

// Whoever takes parameters apart that any length is allowed for must say of which length that holds.
TEST(AnswersTest, KnowTheLengthOfWhatNoHeaderDescribes) {
  const abi::Table& table = **(abi::Tables().end() - 1);
  for (const Answer& answer : Answers()) {
    const bool writes = answer.kind == AnswerKind::kCode || answer.kind == AnswerKind::kFields;
    const bool of_any_length = abi::FindControl(table, answer.number) == table.gss_legacy;
    EXPECT_EQ(answer.observed_size != 0, writes && of_any_length) << answer.name;
  }
}

TEST(AnswersTest, SayWhyAndAreComplete) {
  for (const Answer& answer : Answers()) {
    EXPECT_FALSE(answer.why.empty()) << answer.name;
    EXPECT_EQ(answer.kind == AnswerKind::kCode, answer.run != nullptr) << answer.name;
    EXPECT_EQ(answer.kind == AnswerKind::kFields, !answer.fields.empty()) << answer.name;
  }
}

TEST(AnswersTest, EveryUvmRequestHasARowThatSaysWhy) {
  // Those about the file itself are answered apart.
  const std::set<std::string_view> apart = {"UVM_MM_INITIALIZE", "UVM_INITIALIZE", "UVM_DEINITIALIZE"};
  for (const UvmRequest& request : UvmRequests()) EXPECT_FALSE(request.why.empty()) << request.name;
  for (const abi::Table* table : abi::Tables()) {
    for (const abi::Spec& spec : table->uvm) {
      const auto row = std::find_if(UvmRequests().begin(), UvmRequests().end(),
                                    [&spec](const UvmRequest& each) { return each.number == spec.number; });
      const bool has_row = row != UvmRequests().end();
      EXPECT_NE(has_row, apart.contains(spec.name)) << table->driver_version << " " << spec.name;
      if (has_row) {
        EXPECT_EQ(row->name, spec.name) << table->driver_version;
      }
    }
  }
}

TEST(AnswersTest, EveryClassThatGuestsGetHasARule) {
  for (const abi::Table* table : abi::Tables()) {
    for (const abi::Spec& spec : table->classes) {
      if (spec.withheld) continue;
      const ClassRule* rule = FindClass(spec.number);
      ASSERT_NE(rule, nullptr) << table->driver_version << " " << spec.name;
      EXPECT_EQ(rule->name, spec.name) << table->driver_version;
    }
  }
}

class ProfileAnswersTest : public testing::TestWithParam<std::string> {
 protected:
  ProfileAnswersTest() : driver_(CreateSimDriver({.gpu = GetParam()}).value()), guest_(*driver_) {
    guest_.MakeDevice();
  }
  const Profile& profile() { return *FindProfile(GetParam()); }
  Buffer Ask(uint32_t command, size_t size) {
    Buffer params(size);
    EXPECT_EQ(guest_.Control(TestGuest::kSubdevice, command, params), NV_OK);
    return params;
  }
  uint32_t GrInfo(uint32_t index) {
    Buffer params(32), list(8);
    Put<uint32_t>(params, 0, 1);
    Put<uint32_t>(list, 0, index);
    EXPECT_EQ(guest_.Control(TestGuest::kSubdevice, 0x20801201, params, {{8, &list}}), NV_OK);
    return Get<uint32_t>(list, 4);
  }

  std::unique_ptr<SimDriver> driver_;
  TestGuest guest_;
};

TEST_P(ProfileAnswersTest, NameAndUuidAreThoseOfTheDriverInfo) {
  const Buffer name = Ask(0x20800110, 132), gid = Ask(0x2080014a, 268);
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(name.data() + 4)), driver_->info().gpus[0].name);
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(gid.data() + 12)), driver_->info().gpus[0].uuid);
  EXPECT_EQ(Get<uint32_t>(gid, 8), 41u);
}

TEST_P(ProfileAnswersTest, TheSmOrderNamesEverySmOnce) {
  const Buffer order = Ask(0x2080121b, 6168);
  const uint32_t sms = Get<uint16_t>(order, 6144);
  EXPECT_EQ(sms, profile().sms());
  EXPECT_EQ(Get<uint16_t>(order, 6146), profile().tpcs());
  std::set<std::array<uint16_t, 3>> seen;
  for (uint32_t sm = 0; sm < sms; ++sm)
    seen.insert({Get<uint16_t>(order, 12 * sm), Get<uint16_t>(order, 12 * sm + 2),
                 Get<uint16_t>(order, 12 * sm + 4)});
  EXPECT_EQ(seen.size(), sms);
}

TEST_P(ProfileAnswersTest, MemoryFiguresAddUp) {
  EXPECT_EQ(guest_.FbInfo(0x08), profile().ram_mib << 10);                             // TOTAL_RAM_SIZE
  EXPECT_EQ(guest_.FbInfo(0x09), (profile().ram_mib - profile().reserved_mib) << 10);  // HEAP_SIZE
  EXPECT_EQ(guest_.FbInfo(0x16), guest_.FbInfo(0x09));                                 // HEAP_FREE
  EXPECT_EQ(guest_.FbInfo(0x1b), profile().l2_bytes);                                  // L2CACHE_SIZE
}

TEST_P(ProfileAnswersTest, TheShaderArrayIsThatOfTheProfile) {
  EXPECT_EQ(GrInfo(0x0c), profile().sm_version);
  EXPECT_EQ(GrInfo(0x0d), profile().warps_per_sm);
  EXPECT_EQ(GrInfo(0x1d), profile().sms() * profile().cores_per_sm);
}

TEST_P(ProfileAnswersTest, AListWithAnUnknownIndexOrTooLongIsRefused) {
  Buffer params(436);
  Put<uint32_t>(params, 0, 1);
  Put<uint32_t>(params, 4, 0x36);
  EXPECT_EQ(guest_.Control(TestGuest::kSubdevice, 0x20801303, params), NV_ERR_INVALID_ARGUMENT);
  Put<uint32_t>(params, 0, 0xffffffff);
  EXPECT_EQ(guest_.Control(TestGuest::kSubdevice, 0x20801303, params), NV_ERR_INVALID_ARGUMENT);
}

TEST_P(ProfileAnswersTest, ChannelsStayEnabled) {
  Buffer params(536);
  Put<uint32_t>(params, 4, 1);
  EXPECT_EQ(guest_.Control(TestGuest::kSubdevice, 0x2080110b, params), NV_OK);
  Put<uint8_t>(params, 0, 1);
  EXPECT_EQ(guest_.Control(TestGuest::kSubdevice, 0x2080110b, params), NV_ERR_NOT_SUPPORTED);
  Put<uint32_t>(params, 4, 65);
  EXPECT_EQ(guest_.Control(TestGuest::kSubdevice, 0x2080110b, params), NV_ERR_INVALID_ARGUMENT);
}

TEST_P(ProfileAnswersTest, TheClassListHoldsOneComputeAndOneUsermodeClassThatCanBeMade) {
  Buffer params(644);
  ASSERT_EQ(guest_.Control(TestGuest::kDevice, 0x800292, params), NV_OK);
  const uint32_t count = Get<uint32_t>(params, 0);
  uint32_t compute = 0;
  for (uint32_t i = 0; i < count; ++i) {
    const uint32_t class_number = Get<uint32_t>(params, 4 + 4 * i);
    compute += (class_number & 0xff) == 0xc0;
    EXPECT_NE(FindClass(class_number), nullptr) << class_number;
  }
  EXPECT_EQ(compute, 1u);
  uint32_t handle = 0x1;
  EXPECT_EQ(guest_.Alloc(TestGuest::kSubdevice, &handle, 0xc461), NV_OK);  // TURING_USERMODE_A
}

TEST_P(ProfileAnswersTest, AClassOfAnotherChipIsInvalid) {
  Buffer params(360);
  uint32_t handle = 0x1;
  const uint32_t expected = profile().chip == Chip::kGH100 ? NV_OK : NV_ERR_INVALID_CLASS;
  EXPECT_EQ(guest_.Alloc(TestGuest::kDevice, &handle, 0xc86f, &params), expected);  // HOPPER_CHANNEL_GPFIFO_A
}

TEST_P(ProfileAnswersTest, TheBuildVersionIsTheDriversVersion) {
  Buffer params(40), version(64), other(64), title(64);
  Put<uint32_t>(params, 0, 64);
  ASSERT_EQ(guest_.Control(guest_.client, 0x101, params, {{8, &version}, {16, &other}, {24, &title}}), NV_OK);
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(version.data())), "535.261.03");
}

INSTANTIATE_TEST_SUITE_P(AllProfiles, ProfileAnswersTest, testing::Values("a100", "h100", "h200", "rtx4090"),
                         [](const auto& info) { return info.param; });

TEST(ProfileTest, AreTheBoardsTheyClaimToBe) {
  struct Board {
    const char* key;
    uint32_t sms, ram_mib;
    uint16_t pci_device_id;
  };
  for (const Board& board : {Board{"a100", 108, 40960, 0x20b0}, Board{"h100", 132, 81559, 0x2330},
                             Board{"h200", 132, 143771, 0x2335}, Board{"rtx4090", 128, 24564, 0x2684}}) {
    const Profile* profile = FindProfile(board.key);
    ASSERT_NE(profile, nullptr);
    EXPECT_EQ(profile->sms(), board.sms);
    EXPECT_EQ(profile->ram_mib, board.ram_mib);
    EXPECT_EQ(profile->pci_device_id, board.pci_device_id);
  }
}

}  // namespace
}  // namespace nvshim::broker::sim
