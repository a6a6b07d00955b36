// Laws of the quota: video memory is charged before the driver is asked and refunded when its last object is
// gone, however that happens; beyond the quota the guest hears what a full GPU says; and what it is shown of
// memory and processes is its own.
#include "broker/core/quota.h"

#include <gtest/gtest.h>

#include <array>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "broker/core/core_test_fixture.h"

namespace nvshim::broker {
namespace {

constexpr uint32_t kAllocMemory = Escape(0x27, 56);
constexpr uint32_t kNoMemory = 0x51;
constexpr uint64_t kMiB = 1 << 20;
constexpr GuestId kLimited{3};  // may have 4 MiB
constexpr uint64_t kQuotaBytes = 4 * kMiB;

// pids as the processes tell them
constexpr uint32_t kPidOf1 = 4711, kPidOf2 = 4712;

class QuotaTest : public CoreTest {
 protected:
  QuotaTest() {
    Limits limits = DefaultLimits();
    limits[Resource::kVideoMemory] = kQuotaBytes;
    Step(GuestAdded{kLimited, limits});
    Step(ProcessAttached{kLimited, ProcessId{1}, kPidOf1});
    Step(ProcessAttached{kLimited, ProcessId{2}, kPidOf2});
    Step(ProcessAttached{kLimited, ProcessId{3}});
    ctl_ = Open(kLimited);
    client_ = NewClient(kLimited, ctl_);
  }

  // NV_ESC_RM_ALLOC of a memory class below `parent`, or below the client.
  static Request Memory(uint32_t client, uint32_t object, uint64_t size_bytes, uint32_t rm_class = 0x40,
                        uint32_t parent = 0) {
    Request request(kAlloc, 32);
    request.U32(0, 0, client).U32(0, 4, parent == 0 ? client : parent).U32(0, 8, object).U32(0, 12, rm_class);
    request.Add(120, 0, 16);
    return request.U64(1, 64, size_bytes);
  }
  static Request HeapMemory(uint32_t client, uint64_t size_bytes, uint32_t flags, uint32_t attr) {
    Request request(kVidHeap, 184);
    request.U32(0, 0, client).U32(0, 4, client).U32(0, 8, 2).U32(0, 44, 60).U32(0, 52, flags);
    return request.U32(0, 56, attr).U64(0, 88, size_bytes);
  }
  static Request OldMemory(uint32_t client, uint64_t size_bytes, uint32_t rm_class) {
    Request request(kAllocMemory, 56);
    request.U32(0, 0, client).U32(0, 4, client).U32(0, 8, 70).U32(0, 12, rm_class);
    return request.U64(0, 32, size_bytes - 1);
  }
  static Request Duplicate(uint32_t client, uint32_t object, uint32_t from_client, uint32_t from) {
    Request request(kDup, 28);
    return request.U32(0, 0, client)
        .U32(0, 4, client)
        .U32(0, 8, object)
        .U32(0, 12, from_client)
        .U32(0, 16, from);
  }
  uint64_t UsedBytes(GuestId guest = kLimited) const {
    return core_.Statistics(guest).used[Resource::kVideoMemory];
  }
  uint64_t RefusedOverQuota() const {
    return core_.Statistics(kLimited).counters.refusals[static_cast<size_t>(Reason::kOverQuota)];
  }

  FileId ctl_{};
  uint32_t client_ = 0;
};

// ---- The ledger ----

TEST_F(QuotaTest, VideoMemoryIsChargedWhicheverCallAllocatesIt) {
  for (const Request& request :
       {Memory(client_, 1, kMiB), HeapMemory(client_, kMiB, 0, 0), OldMemory(client_, kMiB, 0x40)}) {
    const uint64_t before = UsedBytes();
    Call(kLimited, ctl_, request);
    EXPECT_TRUE(ReachedDriver());
    EXPECT_EQ(UsedBytes() - before, kMiB);
  }
}

TEST_F(QuotaTest, OtherMemoryIsNotCharged) {
  constexpr uint32_t kVirtual = 0x80000, kPci = 1u << 25, kAny = 3u << 25;
  for (const Request& request : {Memory(client_, 1, kMiB, 0x3e), Memory(client_, 2, kMiB, 0x50a0),
                                 HeapMemory(client_, kMiB, kVirtual, 0), HeapMemory(client_, kMiB, 0, kPci),
                                 HeapMemory(client_, kMiB, 0, kAny), OldMemory(client_, kMiB, 0x3e)}) {
    Call(kLimited, ctl_, request);
    EXPECT_TRUE(ReachedDriver());
    EXPECT_EQ(UsedBytes(), 0u);
  }
}

TEST_F(QuotaTest, MemoryIsRefundedHoweverItsObjectGoes) {
  const auto file = Open(kLimited, kCtl, 2);
  const uint32_t other = Get<uint32_t>(Call(kLimited, file, MakeClient(), 2).call.Bytes(0), 8);
  Call(kLimited, ctl_, Memory(client_, 1, kMiB));
  Call(kLimited, ctl_, MakeObject(client_, client_, 10, 0x80));
  Call(kLimited, ctl_, Memory(client_, 2, kMiB, 0x40, 10));
  Call(kLimited, ctl_, HeapMemory(client_, kMiB, 0, 0));
  Call(kLimited, file, Memory(other, 3, kMiB), 2);
  EXPECT_EQ(UsedBytes(), 4 * kMiB);
  Call(kLimited, ctl_, Free(client_, 10));  // the parent
  EXPECT_EQ(UsedBytes(), 3 * kMiB);
  Call(kLimited, ctl_, Request(kVidHeap, 184).U32(0, 0, client_).U32(0, 8, 3).U32(0, 44, 60));
  EXPECT_EQ(UsedBytes(), 2 * kMiB);
  Call(kLimited, ctl_, Free(client_, client_));
  EXPECT_EQ(UsedBytes(), kMiB);
  Step(FileHungUp{kLimited, file});
  EXPECT_EQ(UsedBytes(), 0u);
}

TEST_F(QuotaTest, BeyondTheQuotaTheGpuIsFull) {
  const struct {
    Request request;
    uint32_t status_offset;
  } calls[] = {{Memory(client_, 1, kMiB + 1), 28},
               {HeapMemory(client_, kMiB + 1, 0, 0), 20},
               {OldMemory(client_, kMiB + 1, 0x40), 40},
               {Memory(client_, 1, ~uint64_t{0}), 28}};
  Call(kLimited, ctl_, Memory(client_, 9, 3 * kMiB));
  uint64_t refused = 0;
  for (const auto& [request, status_offset] : calls) {
    EXPECT_TRUE(Refused(Call(kLimited, ctl_, request), kNoMemory, status_offset));
    EXPECT_EQ(RefusedOverQuota(), ++refused);
    EXPECT_EQ(UsedBytes(), 3 * kMiB);
  }
  Call(kLimited, ctl_, Memory(client_, 1, kMiB));
  EXPECT_TRUE(ReachedDriver()) << "the last byte of a quota can be had";
  Call(kLimited, ctl_, Free(client_, 9));
  Call(kLimited, ctl_, Memory(client_, 9, 3 * kMiB));
  EXPECT_TRUE(ReachedDriver()) << "what is freed can be had again";
}

TEST_F(QuotaTest, ProcessesOfAGuestShareItsQuotaAndGuestsDoNot) {
  const FileId file = Open(kLimited, kCtl, 2);
  const uint32_t second = Get<uint32_t>(Call(kLimited, file, MakeClient(), 2).call.Bytes(0), 8);
  const FileId foreign_file = Open(kB);
  const uint32_t foreign = NewClient(kB, foreign_file);
  Call(kLimited, ctl_, Memory(client_, 1, kQuotaBytes));
  EXPECT_TRUE(Refused(Call(kLimited, file, Memory(second, 1, 1), 2), kNoMemory, 28));
  Call(kB, foreign_file, Memory(foreign, 1, 1000 * kMiB));
  EXPECT_TRUE(ReachedDriver()) << "no quota, no refusal";
  EXPECT_EQ(UsedBytes(kB), 1000 * kMiB);
  EXPECT_EQ(UsedBytes(), kQuotaBytes);
}

TEST_F(QuotaTest, MemoryOnItsWayCounts) {
  held_up_ = true;
  Call(kLimited, ctl_, Memory(client_, 1, 3 * kMiB), 1, 0);
  EXPECT_EQ(UsedBytes(), 3 * kMiB);
  Step(IoctlRequested{
      Token(kLimited, 1, 1), 7, static_cast<uint32_t>(ctl_), Memory(client_, 2, 2 * kMiB).call, {}});
  ASSERT_NE(LastOf<ReplyIoctl>(actions_), nullptr);
  EXPECT_TRUE(Refused(*LastOf<ReplyIoctl>(actions_), kNoMemory, 28));
}

TEST_F(QuotaTest, AFailedAllocationCostsNothing) {
  answer_ = [](DriverCall& call) {
    Put<uint32_t>(call.Bytes(0), 28, kNoMemory);
    return 0;
  };
  Call(kLimited, ctl_, Memory(client_, 1, kMiB));
  EXPECT_TRUE(ReachedDriver());
  EXPECT_EQ(UsedBytes(), 0u);
  answer_ = [](DriverCall&) { return EIO; };
  Call(kLimited, ctl_, Memory(client_, 1, kMiB));
  EXPECT_EQ(UsedBytes(), 0u);
}

TEST_F(QuotaTest, WhatTheDriverRoundsUpIsCharged) {
  answer_ = [this](DriverCall& call) {
    if (call.command == kAlloc) Put<uint64_t>(call.Bytes(1), 64, 2 * kMiB);
    return Ordinary(call);
  };
  Call(kLimited, ctl_, Memory(client_, 1, 1));
  EXPECT_EQ(UsedBytes(), 2 * kMiB);
  Call(kLimited, ctl_, Memory(client_, 2, 2 * kMiB));
  EXPECT_TRUE(Refused(Call(kLimited, ctl_, Memory(client_, 3, 1)), kNoMemory, 28));
  Call(kLimited, ctl_, Free(client_, client_));
  EXPECT_EQ(UsedBytes(), 0u);
}

TEST_F(QuotaTest, DuplicatesShareOneChargeUntilTheLastIsGone) {
  Call(kLimited, ctl_, Memory(client_, 1, 3 * kMiB));
  const uint32_t second = NewClient(kLimited, ctl_);
  Call(kLimited, ctl_, Duplicate(second, 5, client_, 1));
  Call(kLimited, ctl_, Duplicate(second, 6, second, 5));
  EXPECT_EQ(UsedBytes(), 3 * kMiB);
  Call(kLimited, ctl_, Free(client_, client_));
  Call(kLimited, ctl_, Free(second, 5));
  EXPECT_EQ(UsedBytes(), 3 * kMiB);
  Call(kLimited, ctl_, Free(second, 6));
  EXPECT_EQ(UsedBytes(), 0u);
}

TEST_F(QuotaTest, MemoryThatADeadProcessAskedForIsRefundedWhenTheDriverAnswers) {
  held_up_ = true;
  Call(kLimited, ctl_, Memory(client_, 1, kMiB));
  Step(ProcessGone{kLimited, ProcessId{1}});
  Step(FileHungUp{kLimited, ctl_});
  EXPECT_EQ(UsedBytes(), kMiB);
  held_up_ = false;
  Answer();
  EXPECT_EQ(UsedBytes(), 0u);
}

// ---- What is shown: memory ----

// The data of a list of NV2080_CTRL_FB_INFO.
std::vector<uint32_t> DataOf(const ReplyIoctl& reply, uint32_t segment, uint32_t offset, uint32_t count) {
  std::vector<uint32_t> data;
  for (uint32_t i = 0; i < count; ++i)
    data.push_back(Get<uint32_t>(reply.call.Bytes(segment), offset + 8 * i + 4));
  return data;
}

TEST_F(QuotaTest, MemoryIsShownNoLargerThanTheQuotaAndFreeNoMoreThanIsLeft) {
  const std::vector<uint32_t> indices = {0x07, 0x08, 0x09, 0x0a,
                                         0x20, 0x16, 0x12, 0x05};  // the last is BAR1's
  constexpr uint32_t kReal = 80u << 20;                            // KiB
  const FileId file = Open(kB);
  const uint32_t foreign = NewClient(kB, file);
  Call(kLimited, ctl_, Memory(client_, 1, 3 * kMiB));
  Request inside = Control(client_, client_, 0x20801303, 436);
  Request behind = Control(client_, client_, 0x20801301, 16);
  behind.Add(static_cast<uint32_t>(8 * indices.size()), 1, 8);
  for (Request* request : {&inside, &behind}) request->U32(1, 0, static_cast<uint32_t>(indices.size()));
  for (uint32_t i = 0; i < indices.size(); ++i) {
    inside.U32(1, 4 + 8 * i, indices[i]);
    behind.U32(2, 8 * i, indices[i]);
  }
  answer_ = [&](DriverCall& call) {
    const uint32_t list = call.segments.size() > 2 ? 2 : 1, offset = list == 2 ? 0 : 4;
    for (uint32_t i = 0; i < indices.size(); ++i) Put<uint32_t>(call.Bytes(list), offset + 8 * i + 4, kReal);
    return 0;
  };
  const auto count = static_cast<uint32_t>(indices.size());
  const std::vector<uint32_t> limited = {4096, 4096, 4096, 4096, 4096, 1024, 1024, kReal};
  EXPECT_EQ(DataOf(Call(kLimited, ctl_, inside), 1, 4, count), limited);
  EXPECT_EQ(DataOf(Call(kLimited, ctl_, behind), 2, 0, count), limited);
  inside.U32(0, 0, foreign);
  EXPECT_EQ(DataOf(Call(kB, file, inside), 1, 4, count), std::vector<uint32_t>(count, kReal));
}

TEST_F(QuotaTest, ASmallGpuIsNotShownLargerThanItIs) {
  Request request = Control(client_, client_, 0x20801303, 436);
  request.U32(1, 0, 1).U32(1, 4, 0x16);
  answer_ = [&](DriverCall& call) {
    Put<uint32_t>(call.Bytes(1), 8, 17);
    return 0;
  };
  EXPECT_EQ(DataOf(Call(kLimited, ctl_, request), 1, 4, 1), std::vector<uint32_t>{17});
}

TEST_F(QuotaTest, AListThatClaimsMoreEntriesThanItHasIsReadNoFurther) {
  Request request = Control(client_, client_, 0x20801303, 436);
  request.U32(1, 0, 0xffffffff);
  EXPECT_EQ(Call(kLimited, ctl_, request).error, 0);
}

TEST_F(QuotaTest, TheHeapIsShownAsTheQuota) {
  Call(kLimited, ctl_, Memory(client_, 1, 3 * kMiB));
  answer_ = [](DriverCall& call) {
    for (uint32_t offset : {24, 32, 56}) Put<uint64_t>(call.Bytes(0), offset, uint64_t{80} << 30);
    return 0;
  };
  const ReplyIoctl reply = Call(kLimited, ctl_, Request(kVidHeap, 184).U32(0, 0, client_).U32(0, 8, 5));
  EXPECT_EQ(Get<uint64_t>(reply.call.Bytes(0), 24), kQuotaBytes);
  EXPECT_EQ(Get<uint64_t>(reply.call.Bytes(0), 32), kMiB);
  EXPECT_EQ(Get<uint64_t>(reply.call.Bytes(0), 56), kMiB);
}

// ---- What is shown: processes ----

class ProcessTableTest : public QuotaTest {
 protected:
  ProcessTableTest() {
    // The whole machine's processes, as a driver might tell them.
    answer_ = [this](DriverCall& call) {
      if (call.command == kControl)
        for (uint8_t& byte : call.Bytes(1)) byte = 0x77;
      return Ordinary(call);
    };
  }

  // A channel's compute object below the client.
  void MakeCompute(GuestId guest, FileId file, uint32_t client, uint32_t process = 1) {
    Call(guest, file, Request(MakeObject(client, client, 50, kCompute)).Add(16, 0, 16), process);
    EXPECT_TRUE(ReachedDriver());
  }

  std::set<uint32_t> Pids(GuestId guest, FileId file, uint32_t client, uint32_t id, uint32_t id_type = 0) {
    const Request request = Control(client, client, 0x2080018d, 3812).U32(1, 0, id_type).U32(1, 4, id);
    const ReplyIoctl reply = Call(guest, file, request);
    EXPECT_EQ(At(reply, 1, 0), id_type);
    EXPECT_EQ(At(reply, 1, 4), id);
    std::set<uint32_t> pids;
    for (uint32_t i = 0; i < At(reply, 1, 8); ++i) pids.insert(At(reply, 1, 12 + 4 * i));
    EXPECT_EQ(pids.size(), At(reply, 1, 8)) << "a process twice";
    for (uint32_t i = At(reply, 1, 8); i < 950; ++i) EXPECT_EQ(At(reply, 1, 12 + 4 * i), 0u);
    return pids;
  }

  // The result, and the bytes that are private, shared and owned, shared as a duplicate.
  using Usage = std::array<uint64_t, 4>;
  // What PID_INFO says about the first of one or two pids; the second is there to be told apart.
  Usage UsageOf(GuestId guest, FileId file, uint32_t client, uint32_t pid, uint32_t index = 0) {
    const Request request =
        Control(client, client, 0x2080018e, 14408).U32(1, 0, 2).U32(1, 8 + 72, pid).U32(1, 8 + 72 + 4, index);
    const ReplyIoctl reply = Call(guest, file, request);
    const auto entry = reply.call.Bytes(1).subspan(8 + 72, 72);
    EXPECT_EQ(Get<uint32_t>(entry, 0), pid);
    EXPECT_EQ(Get<uint32_t>(entry, 64), 0xffffffffu) << "no MIG";
    return {Get<uint32_t>(entry, 8), Get<uint64_t>(entry, 16), Get<uint64_t>(entry, 24),
            Get<uint64_t>(entry, 32)};
  }

  static constexpr uint32_t kCompute = 0xcbc0;
};

TEST_F(ProcessTableTest, ProcessesWithAnObjectOfTheClassAreShownUnderTheirOwnPids) {
  EXPECT_EQ(Pids(kLimited, ctl_, client_, kCompute), std::set<uint32_t>{});
  MakeCompute(kLimited, ctl_, client_);
  const FileId file = Open(kLimited, kCtl, 2);
  const uint32_t second = Get<uint32_t>(Call(kLimited, file, MakeClient(), 2).call.Bytes(0), 8);
  EXPECT_EQ(Pids(kLimited, ctl_, client_, kCompute), std::set<uint32_t>{kPidOf1});
  MakeCompute(kLimited, file, second, 2);
  EXPECT_EQ(Pids(kLimited, ctl_, client_, kCompute), (std::set<uint32_t>{kPidOf1, kPidOf2}));
  EXPECT_EQ(Pids(kLimited, ctl_, client_, 0xcb97), std::set<uint32_t>{}) << "another class";
  EXPECT_EQ(Pids(kLimited, ctl_, client_, kCompute, 1), std::set<uint32_t>{}) << "virtual GPUs";
  Step(FileHungUp{kLimited, file});
  EXPECT_EQ(Pids(kLimited, ctl_, client_, kCompute), std::set<uint32_t>{kPidOf1});
}

TEST_F(ProcessTableTest, AnotherGuestSeesNothingOfThem) {
  MakeCompute(kLimited, ctl_, client_);
  Call(kLimited, ctl_, Memory(client_, 1, kMiB));
  const FileId file = Open(kB);
  const uint32_t foreign = NewClient(kB, file);
  EXPECT_EQ(Pids(kB, file, foreign, kCompute), std::set<uint32_t>{});
  EXPECT_EQ(UsageOf(kB, file, foreign, kPidOf1), (Usage{0, 0, 0, 0}));
}

TEST_F(ProcessTableTest, AProcessThatToldNoPidIsNotShown) {
  const FileId file = Open(kLimited, kCtl, 3);
  const uint32_t unnamed = Get<uint32_t>(Call(kLimited, file, MakeClient(), 3).call.Bytes(0), 8);
  MakeCompute(kLimited, file, unnamed, 3);
  Call(kLimited, file, Memory(unnamed, 1, kMiB), 3);
  EXPECT_EQ(Pids(kLimited, ctl_, client_, kCompute), std::set<uint32_t>{});
  EXPECT_EQ(UsageOf(kLimited, ctl_, client_, 0), (Usage{0, 0, 0, 0}));
}

TEST_F(ProcessTableTest, MemoryIsShownForTheProcessThatHasIt) {
  const FileId file = Open(kLimited, kCtl, 2);
  const uint32_t second = Get<uint32_t>(Call(kLimited, file, MakeClient(), 2).call.Bytes(0), 8);
  Call(kLimited, ctl_, Memory(client_, 1, kMiB));
  Call(kLimited, ctl_, Memory(client_, 2, kMiB / 2));
  Call(kLimited, file, Memory(second, 1, kMiB / 4), 2);
  EXPECT_EQ(UsageOf(kLimited, ctl_, client_, kPidOf1), (Usage{0, kMiB + kMiB / 2, 0, 0}));
  EXPECT_EQ(UsageOf(kLimited, ctl_, client_, kPidOf2), (Usage{0, kMiB / 4, 0, 0}));
  Call(kLimited, file, Duplicate(second, 5, client_, 1), 2);
  EXPECT_EQ(UsageOf(kLimited, ctl_, client_, kPidOf1), (Usage{0, kMiB / 2, kMiB, 0}));
  EXPECT_EQ(UsageOf(kLimited, ctl_, client_, kPidOf2), (Usage{0, kMiB / 4, 0, kMiB}));
  Call(kLimited, ctl_, Free(client_, client_));
  const uint32_t next = NewClient(kLimited, ctl_);
  EXPECT_EQ(UsageOf(kLimited, ctl_, next, kPidOf2), (Usage{0, kMiB + kMiB / 4, 0, 0}));
}

TEST_F(ProcessTableTest, OnlyMemoryCanBeAskedFor) {
  constexpr uint32_t kInvalidArgument = 0x1f;
  EXPECT_EQ(UsageOf(kLimited, ctl_, client_, kPidOf1, 1), (Usage{kInvalidArgument, 0, 0, 0}));
}

}  // namespace
}  // namespace nvshim::broker
