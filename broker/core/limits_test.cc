// Laws of the limits, kind by kind: a guest at its limit is told what the driver says in that place, others
// are not concerned, and what is given back can be had again; and all guests of a user together get no more
// than the user may have.
#include "broker/core/limits.h"

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <utility>

#include "broker/core/core_test_fixture.h"
#include "broker/core/uid_level_testlib.h"

namespace nvshim::broker {
namespace {

constexpr uint32_t kInsufficientResources = 0x1a, kNoMemory = 0x51;
constexpr uint32_t kChannel = 0xc56f;
constexpr uint32_t kAllocStatus = 28, kDupStatus = 24;
constexpr GuestId kLimited{3};

class LimitsTest : public CoreTest {
 protected:
  // A guest that may have `limit` of `resource`, and as much of the rest as any.
  void Limit(Resource resource, uint64_t limit, GuestId guest = kLimited) {
    Limits limits = DefaultLimits();
    limits[resource] = limit;
    Step(GuestAdded{guest, limits});
    Step(ProcessAttached{guest, ProcessId{1}});
    Step(ProcessAttached{guest, ProcessId{2}});
  }
  static Request MakeChannel(uint32_t client, uint32_t object) {
    return MakeObject(client, client, object, kChannel).Add(360, 0, 16);
  }
  static Request Duplicate(uint32_t client, uint32_t object, uint32_t from) {
    Request request(kDup, 28);
    return request.U32(0, 0, client).U32(0, 4, client).U32(0, 8, object).U32(0, 12, client).U32(0, 16, from);
  }
  static Request HeapMemory(uint32_t client, uint32_t object) {
    Request request(kVidHeap, 184);
    return request.U32(0, 0, client).U32(0, 4, client).U32(0, 8, 2).U32(0, 44, object).U64(0, 88, 4096);
  }
  int OpenError(GuestId guest, uint32_t process = 1, uint32_t lane = 0) {
    Step(OpenRequested{Token(guest, process, lane), 9, kCtl, 0, 2});
    return LastOf<ReplyOpen>(actions_)->error;
  }
  uint64_t Used(Resource resource, GuestId guest = kLimited) const {
    return core_.Statistics(guest).used[resource];
  }
  uint64_t RefusedOf(Resource resource) const { return core_.Statistics(kLimited).refused[resource]; }
  uint64_t Noted(Reason reason) const {
    return core_.Statistics(kLimited).counters.refusals[static_cast<size_t>(reason)];
  }
};

TEST_F(LimitsTest, Clients) {
  Limit(Resource::kClients, 2);
  const FileId file = Open(kLimited);
  const uint32_t first = NewClient(kLimited, file);
  NewClient(kLimited, file);
  EXPECT_TRUE(Refused(Call(kLimited, file, MakeClient()), kInsufficientResources, kAllocStatus));
  EXPECT_EQ(RefusedOf(Resource::kClients), 1u);
  EXPECT_EQ(Noted(Reason::kOverLimit), 1u);
  Call(kLimited, file, Free(first, first));
  EXPECT_NE(NewClient(kLimited, file), 0u);
  Step(FileHungUp{kLimited, file});
  EXPECT_EQ(Used(Resource::kClients), 0u);
}

TEST_F(LimitsTest, ALimitThatIsLoweredTakesNothingAwayAndGivesNothingMore) {
  Limit(Resource::kClients, 3);
  const FileId file = Open(kLimited);
  const uint32_t first = NewClient(kLimited, file), second = NewClient(kLimited, file);
  const uint32_t third = NewClient(kLimited, file);
  Limits limits = DefaultLimits();
  limits[Resource::kClients] = 1;
  Step(LimitsChanged{kLimited, limits});
  EXPECT_EQ(Used(Resource::kClients), 3u);
  const auto refused = [&] {
    return Refused(Call(kLimited, file, MakeClient()), kInsufficientResources, kAllocStatus);
  };
  EXPECT_TRUE(refused());
  Call(kLimited, file, Free(first, first));
  Call(kLimited, file, Free(second, second));
  EXPECT_TRUE(refused());  // it has as many as it may
  Call(kLimited, file, Free(third, third));
  EXPECT_NE(NewClient(kLimited, file), 0u);
  EXPECT_TRUE(refused());
}

TEST_F(LimitsTest, ALimitThatIsRaisedCountsAtOnce) {
  Limit(Resource::kClients, 1);
  const FileId file = Open(kLimited);
  NewClient(kLimited, file);
  EXPECT_TRUE(Refused(Call(kLimited, file, MakeClient()), kInsufficientResources, kAllocStatus));
  Step(LimitsChanged{kLimited, DefaultLimits()});
  EXPECT_NE(NewClient(kLimited, file), 0u);
  Step(LimitsChanged{GuestId{99}, DefaultLimits()});  // a guest that nobody knows
}

TEST_F(LimitsTest, ObjectsHoweverTheyAreMade) {
  Limit(Resource::kObjects, 3);
  const FileId file = Open(kLimited);
  const uint32_t client = NewClient(kLimited, file);
  Call(kLimited, file, MakeObject(client, client, 1));
  Call(kLimited, file, Duplicate(client, 2, 1));
  Call(kLimited, file, HeapMemory(client, 3));
  EXPECT_EQ(Used(Resource::kObjects), 3u);
  EXPECT_TRUE(
      Refused(Call(kLimited, file, MakeObject(client, client, 4)), kInsufficientResources, kAllocStatus));
  EXPECT_TRUE(Refused(Call(kLimited, file, Duplicate(client, 4, 1)), kInsufficientResources, kDupStatus));
  EXPECT_TRUE(Refused(Call(kLimited, file, HeapMemory(client, 4)), kInsufficientResources, 20));
  EXPECT_EQ(Used(Resource::kVideoMemory), 4096u) << "what is refused holds nothing of another kind";
  Call(kLimited, file, Free(client, 2));
  Call(kLimited, file, MakeObject(client, client, 4));
  EXPECT_TRUE(ReachedDriver());
  Call(kLimited, file, Free(client, client));
  EXPECT_EQ(Used(Resource::kObjects), 0u);
}

TEST_F(LimitsTest, ObjectsOnTheirWayCount) {
  Limit(Resource::kObjects, 1);
  const FileId file = Open(kLimited);
  const uint32_t client = NewClient(kLimited, file);
  held_up_ = true;
  Call(kLimited, file, MakeObject(client, client, 1));
  Step(IoctlRequested{
      Token(kLimited, 1, 1), 7, static_cast<uint32_t>(file), MakeObject(client, client, 2).call, {}});
  ASSERT_NE(LastOf<ReplyIoctl>(actions_), nullptr);
  EXPECT_TRUE(Refused(*LastOf<ReplyIoctl>(actions_), kInsufficientResources, kAllocStatus));
  held_up_ = false;
  answer_ = [](DriverCall& call) {
    Put<uint32_t>(call.Bytes(0), kAllocStatus, 0x1f);
    return 0;
  };
  Answer();
  EXPECT_EQ(Used(Resource::kObjects), 0u) << "the driver has made none";
}

TEST_F(LimitsTest, Channels) {
  Limit(Resource::kChannels, 1);
  const FileId file = Open(kLimited);
  const uint32_t client = NewClient(kLimited, file);
  Call(kLimited, file, MakeChannel(client, 1));
  EXPECT_TRUE(ReachedDriver());
  EXPECT_TRUE(Refused(Call(kLimited, file, MakeChannel(client, 2)), kInsufficientResources, kAllocStatus));
  EXPECT_EQ(Used(Resource::kObjects), 1u) << "at its limit of channels it has not become an object either";
  Call(kLimited, file, MakeObject(client, client, 3));
  EXPECT_TRUE(ReachedDriver()) << "other objects are no channels";
  Call(kLimited, file, Free(client, 1));
  Call(kLimited, file, MakeChannel(client, 2));
  EXPECT_TRUE(ReachedDriver());
}

TEST_F(LimitsTest, Processes) {
  Limit(Resource::kProcesses, 2);
  Step(ProcessAttached{kLimited, ProcessId{3}});
  EXPECT_FALSE(core_.IsAttached(kLimited, ProcessId{3}));
  EXPECT_EQ(RefusedOf(Resource::kProcesses), 1u);
  Step(ProcessGone{kLimited, ProcessId{1}});
  EXPECT_FALSE(core_.IsAttached(kLimited, ProcessId{1}));
  Step(ProcessAttached{kLimited, ProcessId{3}});
  EXPECT_TRUE(core_.IsAttached(kLimited, ProcessId{3}));
  EXPECT_EQ(Used(Resource::kProcesses), 2u);
}

TEST_F(LimitsTest, Files) {
  Limit(Resource::kFiles, 2);
  const FileId file = Open(kLimited);
  open_error_ = EIO;
  EXPECT_EQ(OpenError(kLimited), EIO);
  open_error_ = 0;
  Open(kLimited);
  EXPECT_EQ(OpenError(kLimited), EMFILE);
  EXPECT_EQ(OpenError(kB), 0);
  Step(FileHungUp{kLimited, file});
  EXPECT_EQ(OpenError(kLimited), 0);
  EXPECT_EQ(Used(Resource::kFiles), 2u);
}

TEST_F(LimitsTest, Lanes) {
  Limit(Resource::kLanes, 2);
  const FileId file = Open(kLimited);  // on the first
  EXPECT_EQ(Call(kLimited, file, MakeClient(), 1, 1).error, 0);
  EXPECT_TRUE(RefusedErrno(Call(kLimited, file, MakeClient(), 1, 2), ENOMEM));
  EXPECT_EQ(OpenError(kLimited, 2), ENOMEM);
  EXPECT_EQ(Call(kLimited, file, MakeClient(), 1, 1).error, 0) << "a lane that is there serves again";
  EXPECT_EQ(Used(Resource::kLanes), 2u);
  Step(ProcessGone{kLimited, ProcessId{1}});
  EXPECT_EQ(Used(Resource::kLanes), 0u);
  EXPECT_EQ(OpenError(kLimited, 2), 0);
}

TEST_F(LimitsTest, BytesOfCallsUnderWay) {
  Limit(Resource::kCallBytes, 40);  // one call of 36 bytes, rounded up
  const FileId file = Open(kLimited);
  held_up_ = true;
  Call(kLimited, file, MakeClient());
  EXPECT_EQ(Used(Resource::kCallBytes), 40u);
  Step(IoctlRequested{Token(kLimited, 1, 1), 7, static_cast<uint32_t>(file), MakeClient().call, {}});
  ASSERT_NE(LastOf<ReplyIoctl>(actions_), nullptr);
  EXPECT_TRUE(RefusedErrno(*LastOf<ReplyIoctl>(actions_), ENOMEM));
  held_up_ = false;
  Answer();
  EXPECT_EQ(Used(Resource::kCallBytes), 0u);
  EXPECT_EQ(Call(kLimited, file, MakeClient(), 1, 1).error, 0);
  Call(kLimited, file, Request(Escape(0xee, 8), 8));
  EXPECT_EQ(Used(Resource::kCallBytes), 0u) << "a call that is refused is under way no more";
}

TEST_F(LimitsTest, FramesWaitForTheirTurn) {
  Limit(Resource::kFramesPerSecond, 2);
  EXPECT_TRUE(core_.HasFrameRate(kLimited, ProcessId{1}));
  EXPECT_FALSE(core_.HasFrameRate(kA, ProcessId{1}));
  EXPECT_EQ(core_.NextFrameNs(kLimited, ProcessId{1}, 5), 5u);
  EXPECT_EQ(core_.NextFrameNs(kLimited, ProcessId{2}, 5), 5u);
  EXPECT_EQ(core_.NextFrameNs(kLimited, ProcessId{1}, 5), 500'000'005u);
  EXPECT_EQ(core_.NextFrameNs(kA, ProcessId{1}, 5), 5u);
  EXPECT_EQ(core_.NextFrameNs(kLimited, ProcessId{77}, 5), 5u) << "of nobody";
  EXPECT_EQ(RefusedOf(Resource::kFramesPerSecond), 1u);
}

// ---- Memory of the host ----

// Or frames that fell due by a slow rate would wait for it long after it is no more.
TEST_F(LimitsTest, ARateThatIsChangedForgetsWhoHasWaited) {
  Limit(Resource::kFramesPerSecond, 1);
  for (int i = 0; i < 100; ++i) core_.NextFrameNs(kLimited, ProcessId{1}, 0);
  Limits limits = DefaultLimits();
  limits[Resource::kFramesPerSecond] = 10;
  Step(LimitsChanged{kLimited, limits});
  EXPECT_EQ(core_.NextFrameNs(kLimited, ProcessId{1}, 0), 0u);
  Step(LimitsChanged{kLimited, DefaultLimits()});
  EXPECT_FALSE(core_.HasFrameRate(kLimited, ProcessId{1}));
}

TEST_F(LimitsTest, PinnedMemoryWhicheverCallTakesIt) {
  constexpr uint64_t kSize = 1 << 20;
  Limit(Resource::kPinnedMemory, 3 * kSize);
  const FileId file = Open(kLimited), gpu = Open(kLimited, kGpu);
  const uint32_t client = NewClient(kLimited, file);
  Call(kLimited, gpu, Request(kRegisterFd, 4).File(0, 0, file));
  const auto object = [&](uint32_t number) {
    return MakeObject(client, client, number, 0x3e).Add(120, 0, 16).U64(1, 64, kSize);
  };
  const auto heap = [&](uint32_t number) {
    return HeapMemory(client, number).U64(0, 88, kSize).U32(0, 56, 1u << 25);
  };
  const auto registered = [&](uint32_t number) {
    Request request(Escape(0x27, 56), 56);
    request.U32(0, 0, client).U32(0, 4, client).U32(0, 8, number).U32(0, 12, 0x71).U64(0, 24, 0x7fff2000);
    return request.U64(0, 32, kSize - 1).Add(24, 0, 24);
  };
  Call(kLimited, file, object(1));
  Call(kLimited, file, heap(2));
  Call(kLimited, gpu, registered(3));
  EXPECT_EQ(Used(Resource::kPinnedMemory), 3 * kSize);
  EXPECT_EQ(Used(Resource::kVideoMemory), 0u);
  EXPECT_TRUE(Refused(Call(kLimited, file, object(4)), kNoMemory, kAllocStatus));
  EXPECT_TRUE(Refused(Call(kLimited, file, heap(4)), kNoMemory, 20));
  EXPECT_TRUE(Refused(Call(kLimited, gpu, registered(4)), kNoMemory, 40));
  EXPECT_EQ(Noted(Reason::kOverQuota), 3u);
  Call(kLimited, file, Duplicate(client, 5, 3));
  Call(kLimited, file, Free(client, 3));
  EXPECT_EQ(Used(Resource::kPinnedMemory), 3 * kSize) << "the duplicate keeps it";
  Call(kLimited, file, Free(client, client));
  EXPECT_EQ(Used(Resource::kPinnedMemory), 0u);
}

// ---- Users ----

constexpr uint32_t kUid = 1000, kOtherUid = 1001;

class UidLimitsTest : public LimitsTest {
 protected:
  // Three guests of which the first two are of one user, and the third, a named one, of that and another.
  UidLimitsTest() {
    limits_[Resource::kFiles] = 3;
    limits_[Resource::kVideoMemory] = 1 << 20;
    limits_[Resource::kFramesPerSecond] = 2;
    for (GuestId guest : {GuestId{11}, GuestId{12}, GuestId{13}}) {
      Step(GuestAdded{guest});
      for (uint32_t uid : {kUid, kOtherUid}) {
        if (uids_[uid] == nullptr) uids_[uid] = std::make_shared<NaiveUid>();
        uids_[uid]->limits = limits_;
        Step(UidAdded{guest, uid, std::make_shared<NaiveLevel>(uids_[uid])});
      }
      Step(ProcessAttached{guest, ProcessId{1}, 0, kUid});
      Step(ProcessAttached{guest, ProcessId{2}, 0, kOtherUid});
    }
  }

  Limits limits_ = NoLimits();
  std::map<uint32_t, std::shared_ptr<NaiveUid>> uids_;
};

TEST_F(UidLimitsTest, AllGuestsOfAUserGetNoMoreThanTheUserMayHave) {
  Open(GuestId{11});
  const FileId file = Open(GuestId{12});
  Open(GuestId{13});
  for (uint32_t guest : {11u, 12u, 13u}) EXPECT_EQ(OpenError(GuestId{guest}), EMFILE);
  EXPECT_EQ(core_.Statistics(GuestId{11}).refused[Resource::kFiles], 1u);
  EXPECT_EQ(core_.Statistics(GuestId{11}).used[Resource::kFiles], 1u)
      << "refused at one level, held at neither";
  EXPECT_EQ(OpenError(GuestId{13}, 2), 0) << "another user's process in the same guest";
  EXPECT_EQ(uids_[kOtherUid]->Sum(Resource::kFiles), 1u);
  Step(FileHungUp{GuestId{12}, file});
  EXPECT_EQ(OpenError(GuestId{11}), 0);
  EXPECT_EQ(uids_[kUid]->Sum(Resource::kFiles), 3u);
}

TEST_F(UidLimitsTest, AGuestSeesAGpuNoLargerThanItsUsersShare) {
  const FileId file = Open(GuestId{11}), other = Open(GuestId{12});
  const uint32_t client = NewClient(GuestId{11}, file), others = NewClient(GuestId{12}, other);
  Call(GuestId{12}, other, HeapMemory(others, 5));
  answer_ = [](DriverCall& call) {
    for (uint32_t offset : {24, 32, 56}) Put<uint64_t>(call.Bytes(0), offset, uint64_t{80} << 30);
    return 0;
  };
  const ReplyIoctl reply = Call(GuestId{11}, file, Request(kVidHeap, 184).U32(0, 0, client).U32(0, 8, 5));
  EXPECT_EQ(Get<uint64_t>(reply.call.Bytes(0), 24), 1u << 20);
  EXPECT_EQ(Get<uint64_t>(reply.call.Bytes(0), 32), (1u << 20) - 4096);
}

TEST_F(UidLimitsTest, AUserHasOneRate) {
  EXPECT_TRUE(core_.HasFrameRate(GuestId{11}, ProcessId{1}));
  EXPECT_EQ(core_.NextFrameNs(GuestId{11}, ProcessId{1}, 5), 5u);
  EXPECT_EQ(core_.NextFrameNs(GuestId{12}, ProcessId{1}, 5), 5u);
  EXPECT_EQ(core_.NextFrameNs(GuestId{13}, ProcessId{1}, 5), 500'000'005u);
  EXPECT_EQ(core_.NextFrameNs(GuestId{13}, ProcessId{2}, 5), 5u) << "another user";
}

TEST_F(UidLimitsTest, AUsersRateThatIsChangedForgetsWhoHasWaited) {
  for (int i = 0; i < 100; ++i) core_.NextFrameNs(GuestId{11}, ProcessId{1}, 5);
  limits_[Resource::kFramesPerSecond] = 10;
  uids_[kUid]->limits = limits_;
  Step(LimitsChanged{GuestId{11}, DefaultLimits()});
  EXPECT_EQ(core_.NextFrameNs(GuestId{11}, ProcessId{1}, 5), 5u);
}

TEST_F(UidLimitsTest, WhatIsHeldMovesToANewLevelAndIsGivenBackThere) {
  const FileId first = Open(GuestId{11}), second = Open(GuestId{11});
  const auto next = std::make_shared<NaiveUid>();
  next->limits = limits_;
  next->limits[Resource::kFiles] = 1;
  Step(UidAdded{GuestId{11}, kUid, std::make_shared<NaiveLevel>(next)});
  EXPECT_EQ(next->Sum(Resource::kFiles), 2u) << "more than it may have; but it has it";
  Step(FileHungUp{GuestId{11}, first});
  EXPECT_EQ(OpenError(GuestId{11}), EMFILE);
  Step(FileHungUp{GuestId{11}, second});
  EXPECT_EQ(next->Sum(Resource::kFiles), 0u);
  EXPECT_EQ(OpenError(GuestId{11}), 0);
  EXPECT_EQ(next->Sum(Resource::kProcesses), 1u);
}

TEST_F(UidLimitsTest, AGuestThatIsForgottenHoldsNothing) {
  const FileId file = Open(GuestId{11});
  NewClient(GuestId{11}, file);
  for (uint32_t process : {1u, 2u}) Step(ProcessGone{GuestId{11}, ProcessId{process}});
  Step(FileHungUp{GuestId{11}, file});
  EXPECT_EQ(core_.Statistics(GuestId{11}).used, Amounts());
  Step(GuestRemoved{GuestId{11}});
  for (size_t i = 0; i < kResourceCount; ++i) {
    const auto resource = static_cast<Resource>(i);
    const uint64_t others = resource == Resource::kProcesses ? 2 : 0;
    EXPECT_EQ(uids_[kUid]->Sum(resource), others);
    EXPECT_EQ(uids_[kOtherUid]->Sum(resource), others);
  }
}

}  // namespace
}  // namespace nvshim::broker
