// Laws of the verdicts: they survive the trip to a worker, what is denied looks unknown and is counted apart,
// and each of the others does to a call what its name says.
#include "broker/core/verdict.h"

#include <gtest/gtest.h>

#include "broker/core/core_test_fixture.h"
#include "broker/core/intervene.h"
#include "broker/core/rm_calls.h"

namespace nvshim::broker {
namespace {

const abi::Table& Table535() { return *abi::FindTable("535.261.03"); }

TEST(VerdictsTest, LettersSurviveTheTrip) {
  for (const abi::Table* table : abi::Tables()) {
    const std::string letters = Verdicts::OfTable(*table).Encode(*table);
    const auto decoded = Verdicts::Decode(*table, letters);
    ASSERT_TRUE(decoded);
    EXPECT_EQ(decoded->Encode(*table), letters);
    EXPECT_FALSE(Verdicts::Decode(*table, letters + "a"));
    EXPECT_FALSE(Verdicts::Decode(*table, letters.substr(1)));
    EXPECT_FALSE(Verdicts::Decode(*table, "?" + letters.substr(1)));
    EXPECT_FALSE(Verdicts::Decode(*table, std::string(letters.size(), '\0')));
  }
}

TEST(VerdictsTest, ATableThatIsNewIsDenied) {
  const Verdicts verdicts(Table535());
  for (Kind kind : kKinds)
    for (const abi::Spec& spec : SpecsOf(Table535(), kind)) EXPECT_EQ(verdicts.Of(spec), Verdict::kDeny);
}

constexpr uint32_t kNameString = 0x20800110, kNameStringSize = 132;
constexpr uint32_t kPerfBoost = 0x2080200a, kSubdevice = 0x2080;
constexpr uint32_t kUvmFree = 0x22;

class VerdictTest : public CoreTest {
 protected:
  VerdictTest() {
    ctl_ = Open(kA);
    client_ = NewClient(kA, ctl_);
    Call(kA, ctl_, MakeObject(client_, client_, 0x11).Add(56, 0, 16));
  }

  // The core anew, with one verdict changed; files and clients as before.
  void Rule(Kind kind, uint32_t number, Verdict verdict) {
    Verdicts verdicts = Verdicts::OfTable(Table535());
    verdicts.Set(*abi::Find(SpecsOf(Table535(), kind), number), verdict);
    core_ = Core(&Table535(), verdicts, {0, 1});
    Step(GuestAdded{kA});
    Step(ProcessAttached{kA, ProcessId{1}});
    ctl_ = Open(kA);
    client_ = NewClient(kA, ctl_);
    Call(kA, ctl_, MakeObject(client_, client_, 0x11).Add(56, 0, 16));
  }

  uint64_t Denied() const {
    return core_.Statistics(kA).counters.refusals[static_cast<size_t>(Reason::kDeniedByPolicy)];
  }

  FileId ctl_;
  uint32_t client_ = 0;
};

TEST_F(VerdictTest, DeniedLooksUnknownAndIsCountedApart) {
  Rule(Kind::kControl, kNameString, Verdict::kDeny);
  EXPECT_TRUE(Refused(Call(kA, ctl_, Control(client_, 0x11, kNameString, kNameStringSize)),
                      NV_ERR_NOT_SUPPORTED, 28));
  EXPECT_EQ(Denied(), 1u);
  Rule(Kind::kClass, kSubdevice, Verdict::kDeny);
  EXPECT_TRUE(Refused(Call(kA, ctl_, MakeObject(client_, 0x11, 0x12, kSubdevice).Add(4, 0, 16)),
                      NV_ERR_INVALID_CLASS, 28));
  EXPECT_EQ(Denied(), 1u);
  Rule(Kind::kEscape, 0xc8, Verdict::kDeny);
  EXPECT_TRUE(RefusedErrno(Call(kA, ctl_, Request(Escape(0xc8, 72), 72)), EINVAL));
  EXPECT_EQ(Denied(), 1u);
  Rule(Kind::kUvm, kUvmFree, Verdict::kDeny);
  EXPECT_TRUE(RefusedErrno(Call(kA, Open(kA, kUvm), Request(kUvmFree, 24)), EINVAL));
  EXPECT_EQ(Denied(), 1u);
}

TEST_F(VerdictTest, ADeniedClassIsDeniedToAllocMemoryToo) {
  Rule(Kind::kClass, 0x3e, Verdict::kDeny);
  const FileId gpu = Open(kA, kGpu);
  Request request(Escape(0x27, 56), 56);
  request.U32(0, 0, client_).U32(0, 12, 0x3e);
  EXPECT_TRUE(Refused(Call(kA, gpu, request), NV_ERR_INVALID_CLASS, 40));
  EXPECT_EQ(Denied(), 1u);
}

TEST_F(VerdictTest, InShadowACallPassesAndIsCounted) {
  Rule(Kind::kControl, kNameString, Verdict::kShadow);
  for (int i = 0; i < 3; ++i) {
    Call(kA, ctl_, Control(client_, 0x11, kNameString, kNameStringSize));
    EXPECT_TRUE(ReachedDriver());
    EXPECT_EQ(CountOf<NoteRefusal>(actions_), 1u);
  }
  EXPECT_EQ(core_.Statistics(kA).counters.would_be_denied, 3u);
  EXPECT_EQ(Denied(), 0u);
  // What is wrong with it otherwise is still refused.
  EXPECT_TRUE(Refused(Call(kA, ctl_, Control(client_ + 1, 0x11, kNameString, kNameStringSize)),
                      NV_ERR_INVALID_CLIENT, 28));
}

TEST_F(VerdictTest, AnAnsweredControlDoesNotReachTheDriver) {
  for (uint32_t number : kAnsweredControls) {
    const abi::Spec* spec = abi::Find(Table535().controls, number);
    if (spec == nullptr) continue;
    Request request = Control(client_, 0x11, number, spec->size);
    if (spec->size != 0) request.U32(1, 0, 0x77);
    const ReplyIoctl reply = Call(kA, ctl_, request);
    EXPECT_FALSE(ReachedDriver()) << spec->name;
    EXPECT_EQ(reply.error, 0);
    EXPECT_TRUE(reply.with_segments);
    request.U32(0, 28, NV_OK);
    EXPECT_EQ(reply.call.buffer, request.call.buffer) << spec->name;
  }
}

TEST_F(VerdictTest, AnAnswerNeedsAnObjectThatIsThere) {
  EXPECT_TRUE(Refused(Call(kA, ctl_, Control(client_, 0x99, kPerfBoost, 8)), NV_ERR_OBJECT_NOT_FOUND, 28));
  EXPECT_TRUE(Refused(Call(kA, ctl_, Control(client_ + 1, 0x11, kPerfBoost, 8)), NV_ERR_INVALID_CLIENT, 28));
  Call(kA, ctl_, Control(client_, 0x11, kPerfBoost, 8));
  EXPECT_EQ(LastOf<ReplyIoctl>(actions_)->error, 0);
}

TEST_F(VerdictTest, ATimesliceIsCutToTheBoundAndTheGuestKeepsItsOwnBytes) {
  for (uint64_t asked : {uint64_t{0}, uint64_t{2000}, kTimesliceUsMax, kTimesliceUsMax + 1, ~uint64_t{0}}) {
    const ReplyIoctl reply =
        Call(kA, ctl_, Control(client_, 0x11, NVA06C_CTRL_CMD_SET_TIMESLICE, 8).U64(1, 0, asked));
    ASSERT_TRUE(ReachedDriver());
    EXPECT_EQ(Get<uint64_t>(sent_.call.Bytes(1), 0), std::min(asked, kTimesliceUsMax));
    EXPECT_EQ(Get<uint64_t>(reply.call.Bytes(1), 0), asked);
  }
  Rule(Kind::kControl, NVA06C_CTRL_CMD_SET_TIMESLICE, Verdict::kAllow);
  Call(kA, ctl_, Control(client_, 0x11, NVA06C_CTRL_CMD_SET_TIMESLICE, 8).U64(1, 0, ~uint64_t{0}));
  EXPECT_EQ(Get<uint64_t>(sent_.call.Bytes(1), 0), ~uint64_t{0});
}

TEST_F(VerdictTest, AnAnswerIsRewrittenOnlyWhereTheVerdictIsToFilter) {
  // The driver claims a process with the number 1; the guest has none.
  answer_ = [this](DriverCall& call) {
    if (call.segments.size() > 1 && call.segments[1].size_bytes == 3812) {
      Put<uint32_t>(call.Bytes(1), get_pids::kCount, 1);
      Put<uint32_t>(call.Bytes(1), get_pids::kTable, 1);
    }
    return Ordinary(call);
  };
  const auto count = [this] {
    return At(Call(kA, ctl_, Control(client_, 0x11, NV2080_CTRL_CMD_GPU_GET_PIDS, 3812)), 1,
              get_pids::kCount);
  };
  EXPECT_EQ(count(), 0u);
  Rule(Kind::kControl, NV2080_CTRL_CMD_GPU_GET_PIDS, Verdict::kAllow);
  EXPECT_EQ(count(), 1u);
}

}  // namespace
}  // namespace nvshim::broker
