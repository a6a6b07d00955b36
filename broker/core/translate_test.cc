// Laws of translation, seen through the core: what reaches the driver, what comes back, and whose handles
// they are.
#include "broker/core/translate.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <utility>
#include <variant>
#include <vector>

#include "broker/core/core_test_fixture.h"
#include "broker/core/limits.h"

namespace nvshim::broker {
namespace {

using TranslateTest = CoreTest;

// ---- A call and its bytes ----

TEST_F(TranslateTest, AnIoctlReachesTheDriverOnTheRightFileAndComesBack) {
  const FileId first = Open(kA);
  const DriverFileId first_driver_file = last_file_;
  Open(kA);
  const ReplyIoctl reply = Call(kA, first, MakeClient());
  EXPECT_EQ(sent_.file, first_driver_file);
  EXPECT_EQ(reply.error, 0);
  EXPECT_TRUE(reply.with_segments);
  EXPECT_EQ(core_.Statistics(kA).clients, 1u);
  EXPECT_EQ(core_.Statistics(kA).counters.driver_calls, 1u);
}

TEST_F(TranslateTest, TheErrnoOfTheDriverIsTheGuests) {
  const FileId file = Open(kA);
  answer_ = [](DriverCall&) { return EFAULT; };
  EXPECT_EQ(Call(kA, file, MakeClient()).error, EFAULT);
  EXPECT_EQ(core_.Statistics(kA).clients, 0u);
}

TEST_F(TranslateTest, NothingIsRecordedOfACallThatTheDriverRefused) {
  const FileId file = Open(kA);
  const uint32_t client = NewClient(kA, file);
  answer_ = [](DriverCall& call) {
    Put<uint32_t>(call.Bytes(0), call.command == kFree ? 12 : 28, 0x1f);
    return 0;
  };
  Call(kA, file, MakeClient());
  Call(kA, file, MakeObject(client, client, 5));
  Call(kA, file, Free(client, client));
  EXPECT_EQ(core_.Statistics(kA).clients, 1u);
  EXPECT_EQ(core_.Statistics(kA).objects, 0u);
}

TEST_F(TranslateTest, TheDriverSeesNeitherPointersNorFdsNorVirtualClients) {
  const FileId file = Open(kA);
  const uint32_t client = NewClient(kA, file);
  Call(kA, file, Control(client, client, 0x201, 128));
  EXPECT_EQ(Get<uint64_t>(sent_.call.Bytes(0), 16), 0u);
  EXPECT_EQ(At(sent_, 0, 0), last_real_);
  EXPECT_EQ(At(sent_, 0, 4), last_real_) << "the client as its own root object";
  Call(kA, file, Request(kMapMemory, 56).U32(0, 0, client).U32(0, 48, 7));
  EXPECT_EQ(At(sent_, 0, 48), 0xffffffffu);
}

TEST_F(TranslateTest, DriverFilesComeFromTheTablesAndNeverFromTheRequest) {
  const FileId file = Open(kA);
  Open(kB);
  Request request = MakeClient();
  request.call.files.push_back({0, 0, last_file_});
  request.File(0, 8, file);  // where the struct has no fd
  Call(kA, file, request);
  EXPECT_TRUE(sent_.call.files.empty());
}

TEST_F(TranslateTest, WhatTheDriverMayNotWriteIsTheGuestsInTheReplyOfAControl) {
  const FileId file = Open(kA);
  const uint32_t client = NewClient(kA, file);
  answer_ = [](DriverCall& call) { return Scribble(call, 28, 0); };
  const ReplyIoctl reply = Call(kA, file, Control(client, 55, 0x201, 128));
  EXPECT_EQ(At(reply, 0, 0), client);
  EXPECT_EQ(At(reply, 0, 4), 55u);
  EXPECT_EQ(Get<uint64_t>(reply.call.Bytes(0), 16), 0x7fff1000u);
  EXPECT_EQ(At(reply, 0, 28), 0u);
  for (uint8_t byte : reply.call.Bytes(1)) EXPECT_EQ(byte, 0xab);
}

TEST_F(TranslateTest, EmbeddedPointersAreTheGuestsInTheReply) {
  const FileId file = Open(kA);
  const uint32_t client = NewClient(kA, file);
  Request request = Control(client, client, 0x101, 40);
  request.U32(1, 0, 16);
  for (uint32_t offset : {8u, 16u, 24u}) request.U64(1, offset, 0x5000 + offset).Add(16, 1, offset);
  answer_ = [](DriverCall& call) { return Scribble(call, 28, 0); };
  const ReplyIoctl reply = Call(kA, file, request);
  for (uint32_t offset : {8u, 16u, 24u})
    EXPECT_EQ(Get<uint64_t>(reply.call.Bytes(1), offset), 0x5000u + offset);
  EXPECT_EQ(At(reply, 1, 32), 0xababababu);
  for (uint32_t segment : {2u, 3u, 4u}) EXPECT_EQ(At(reply, segment, 0), 0xababababu);
}

TEST_F(TranslateTest, ACountThatWasLoweredForTheDriverIsTheGuestsInTheReply) {
  const FileId file = Open(kA);
  const uint32_t client = NewClient(kA, file);
  const ReplyIoctl reply = Call(kA, file, Control(client, client, 0x101, 40).U32(1, 0, 5000).Add(256, 1, 8));
  EXPECT_EQ(At(sent_, 1, 0), 256u);
  EXPECT_EQ(At(reply, 1, 0), 5000u);
}

TEST_F(TranslateTest, AnEventsCookieIsTheGuestsInTheReplyToTheLastByte) {
  const FileId file = Open(kA);
  const uint32_t client = NewClient(kA, file);
  Request request = MakeObject(client, 3, 4, 0x79);
  request.Add(24, 0, 16).U32(1, 0, client).U64(1, 16, 44);
  answer_ = [](DriverCall& call) { return Scribble(call, 28, 0); };
  const ReplyIoctl reply = Call(kA, file, request);
  EXPECT_EQ(At(sent_, 1, 0), last_real_);
  EXPECT_EQ(At(sent_, 1, 16), 44u);
  EXPECT_EQ(At(reply, 1, 0), client);
  EXPECT_EQ(Get<uint64_t>(reply.call.Bytes(1), 16), 44u) << "the kernel leaves an address of its own there";
}

TEST_F(TranslateTest, AnAddressOfTheGuestIsTheGuestsInTheReply) {
  const FileId file = Open(kA);
  const uint32_t client = NewClient(kA, file);
  const Request memory =
      Request(Escape(0x27, 56), 56).U32(0, 0, client).U32(0, 12, 0x71).U64(0, 24, 0x7fff2000).Add(24, 0, 24);
  const ReplyIoctl reply = Call(kA, file, memory);
  EXPECT_EQ(Get<uint64_t>(sent_.call.Bytes(0), 24), 0u);
  EXPECT_EQ(Get<uint64_t>(reply.call.Bytes(0), 24), 0x7fff2000u);
}

// Whatever the table says of a call, a driver that writes over everything leaks no number that stood in the
// guest's place.
TEST_F(TranslateTest, NoFieldThatIsTranslatedKeepsTheDriversValue) {
  const FileId file = Open(kA), named = Open(kA);
  const FileId uvm = Open(kA, kUvm);
  const uint32_t client = NewClient(kA, file);
  const auto check = [&](const abi::Spec& spec, const ReplyIoctl& reply, uint32_t segment) {
    for (uint16_t offset : spec.clients) EXPECT_EQ(At(reply, segment, offset), client) << spec.name;
    for (uint16_t offset : spec.objects) EXPECT_EQ(At(reply, segment, offset), client) << spec.name;
    for (const abi::FdField& fd : spec.fds) EXPECT_EQ(At(reply, segment, fd.offset), 21u) << spec.name;
    for (const abi::Pointer& pointer : spec.pointers)
      EXPECT_EQ(Get<uint64_t>(reply.call.Bytes(segment), pointer.offset), 0u) << spec.name;
  };
  const auto fill = [&](const abi::Spec& spec, Request& request, uint32_t segment) {
    for (const abi::FdField& fd : spec.fds)
      request.U32(segment, fd.offset, 21).File(segment, fd.offset, named);
    for (uint16_t offset : spec.clients) request.U32(segment, offset, client);
    for (uint16_t offset : spec.objects) request.U32(segment, offset, client);
  };
  const abi::Table& table = *abi::FindTable("535.261.03");
  // A status that says "failed", so that nothing is freed.
  answer_ = [](DriverCall& call) { return Scribble(call, 0, 0xabababab); };
  for (const abi::SpecList* specs : {&table.escapes, &table.uvm})
    for (const abi::Spec& spec : *specs) {
      if (spec.shape == abi::Shape::kControl || spec.shape == abi::Shape::kAlloc || spec.size == 0) continue;
      if (spec.withheld) continue;
      const bool is_uvm = specs == &table.uvm;
      Request request(is_uvm ? spec.number : Escape(spec.number, spec.size), spec.size);
      fill(spec, request, 0);
      if (!is_uvm && spec.number == 0x4a) request.U32(0, 8, 5);      // a function that is served
      if (!is_uvm && spec.number == 0x27) request.U32(0, 12, 0x3e);  // a class that is known
      const ReplyIoctl reply = Call(kA, is_uvm ? uvm : file, request);
      ASSERT_TRUE(ReachedDriver()) << spec.name;
      check(spec, reply, 0);
    }
  for (const abi::Spec& spec : table.classes) {
    if (spec.number == 0 || spec.number == 1 || spec.number == 0x41 || spec.size == 0) continue;
    if (spec.withheld) continue;
    Request request = MakeObject(client, client, 5, spec.number);
    request.Add(spec.size, 0, 16);
    fill(spec, request, 1);
    check(spec, Call(kA, file, request), 1);
    EXPECT_TRUE(ReachedDriver()) << spec.name;
  }
  const Verdicts verdicts = Verdicts::OfTable(table);
  for (const abi::Spec& spec : table.controls) {
    if (spec.withheld || verdicts.Of(spec) == Verdict::kAnswer) continue;
    Request request = Control(client, client, spec.number, spec.size);
    if (spec.size != 0) fill(spec, request, 1);
    const ReplyIoctl reply = Call(kA, file, request);
    EXPECT_TRUE(ReachedDriver()) << spec.name;
    if (spec.size != 0) check(spec, reply, 1);
  }
}

// ---- Sharing ----

Request Share(uint32_t client, uint32_t target, uint16_t type, uint8_t action = 0) {
  using namespace abi::share_policy;
  Request request(Escape(0x35, 24), 24);
  request.U32(0, 0, client).U32(0, 4, 5).U32(0, 8 + kTarget, target);
  Put<uint16_t>(request.call.Bytes(0), 8 + kType, type);
  request.call.Bytes(0)[8 + kAction] = action;
  return request;
}

TEST_F(TranslateTest, AClientSharesWithOneClientOfItsOwnGuest) {
  const FileId file = Open(kA);
  const uint32_t client = NewClient(kA, file), other = NewClient(kA, Open(kA));
  NewClient(kB, Open(kB));
  const ReplyIoctl reply = Call(kA, file, Share(client, other, abi::share_policy::kTypeClient));
  EXPECT_EQ(At(sent_, 0, 8), last_real_ - 1);
  EXPECT_EQ(At(reply, 0, 8), other);
  for (uint32_t target : {last_real_, last_real_ - 1, 0u, 7u})
    EXPECT_TRUE(Refused(Call(kA, file, Share(client, target, abi::share_policy::kTypeClient)),
                        NV_ERR_INVALID_CLIENT, 20));
  const Request inherited = Control(client, client, 0xd04, 12).U32(1, 0, last_real_).U32(1, 8, 3);
  EXPECT_TRUE(Refused(Call(kA, file, inherited), NV_ERR_INVALID_CLIENT, 28));
}

TEST_F(TranslateTest, AClientThatSharesWithEverybodySharesWithItsGuest) {
  const FileId file = Open(kA);
  const uint32_t client = NewClient(kA, file);
  for (uint16_t type : {1, 2, 4, 5, 6, 7}) {  // all, of a user, of a process, of a partition, of a GPU, ...
    const ReplyIoctl reply = Call(kA, file, Share(client, client, type));
    EXPECT_EQ(At(sent_, 0, 16) & 0xffff, abi::share_policy::kTypePid);
    EXPECT_EQ(At(sent_, 0, 8), 0u);
    EXPECT_EQ(At(reply, 0, 16) & 0xffff, type);
    EXPECT_EQ(At(reply, 0, 8), client);
  }
  Call(kA, file, Share(client, 0, 6, abi::share_policy::kActionRequire));
  EXPECT_EQ(At(sent_, 0, 16) & 0xffff, 6u) << "one more condition, which lets nobody in";
}

// ---- Client handles ----

TEST_F(TranslateTest, TheGuestNeverSeesARealClientHandle) {
  const FileId file = Open(kA);
  const ReplyIoctl reply = Call(kA, file, MakeClient());
  EXPECT_EQ(At(reply, 0, 8), 0xc1d00000u);
  EXPECT_EQ(At(reply, 1, 0), 0xc1d00000u) << "pAllocParms receives the number too";
  EXPECT_EQ(At(reply, 0, 0), 0u);
  EXPECT_EQ(Get<uint64_t>(reply.call.Bytes(0), 16), 0x7fff0000u);
  for (uint32_t offset : {0u, 4u, 8u}) EXPECT_EQ(At(sent_, 0, offset), 0u) << "the driver chooses";
}

TEST_F(TranslateTest, AClientThatWasNotMadeLeavesNoNumberBehind) {
  const FileId file = Open(kA);
  for (int error : {0, EIO}) {
    answer_ = [&](DriverCall& call) {
      Scribble(call, 28, 0x51);
      return error;
    };
    const ReplyIoctl reply = Call(kA, file, MakeClient(0x77).U32(1, 0, 0x78));
    EXPECT_EQ(At(reply, 0, 8), 0x77u);
    EXPECT_EQ(At(reply, 1, 0), 0x78u);
  }
}

TEST_F(TranslateTest, AGuestMayChooseAFreeNumberForItsClient) {
  const FileId file = Open(kA);
  EXPECT_EQ(At(Call(kA, file, MakeClient(0x1234)), 0, 8), 0x1234u);
  EXPECT_TRUE(Refused(Call(kA, file, MakeClient(0x1234)), NV_ERR_INSERT_DUPLICATE_NAME, 28));
  const FileId others = Open(kB);
  EXPECT_EQ(At(Call(kB, others, MakeClient(0x1234)), 0, 8), 0x1234u)
      << "numbers of one guest mean nothing to another";
}

TEST_F(TranslateTest, TwoGuestsHaveTheSameNumbersForDifferentClients) {
  const FileId a = Open(kA), b = Open(kB);
  const uint32_t client_a = NewClient(kA, a);
  const uint32_t real_a = last_real_;
  const uint32_t client_b = NewClient(kB, b);
  EXPECT_EQ(client_a, client_b);
  Call(kA, a, Control(client_a, client_a, 0x201, 128));
  EXPECT_EQ(At(sent_, 0, 0), real_a);
  Call(kB, b, Control(client_b, client_b, 0x201, 128));
  EXPECT_EQ(At(sent_, 0, 0), last_real_);
}

TEST_F(TranslateTest, AnothersClientDoesNotExist) {
  const FileId a = Open(kA), b = Open(kB);
  Call(kA, a, MakeClient(0x1234));
  const uint32_t real_a = last_real_;
  const uint32_t client_b = NewClient(kB, b);
  for (uint32_t handle : {0x1234u, real_a, 0u}) {
    EXPECT_TRUE(Refused(Call(kB, b, Control(handle, handle, 0x201, 128)), NV_ERR_INVALID_CLIENT, 28));
    EXPECT_TRUE(Refused(Call(kB, b, MakeObject(handle, handle, 1)), NV_ERR_INVALID_CLIENT, 28));
    EXPECT_TRUE(Refused(Call(kB, b, Free(handle, handle)), NV_ERR_INVALID_CLIENT, 12));
    // As the source of a dup, where the driver itself would not look at the file.
    Request dup(kDup, 28);
    dup.U32(0, 0, client_b).U32(0, 4, client_b).U32(0, 8, 9).U32(0, 12, handle).U32(0, 16, 1);
    EXPECT_TRUE(Refused(Call(kB, b, dup), NV_ERR_INVALID_CLIENT, 24));
  }
  for (uint32_t handle : {0x1234u, real_a}) {
    Request event = MakeObject(client_b, client_b, 4, 0x79);
    event.Add(24, 0, 16).U32(1, 0, handle);
    EXPECT_TRUE(Refused(Call(kB, b, event), NV_ERR_INVALID_CLIENT, 28));
    const FileId uvm = Open(kB, kUvm);
    EXPECT_TRUE(
        Refused(Call(kB, uvm, Request(kUvmRegisterGpu, 40).U32(0, 28, handle)), NV_ERR_INVALID_CLIENT, 36));
  }
  EXPECT_EQ(core_.Statistics(kA).clients, 1u);
}

TEST_F(TranslateTest, ARefusedCallComesBackAsItWasSentButForTheStatus) {
  const FileId file = Open(kA);
  const Request request = Control(0x99, 0x98, 0x201, 128).U32(1, 4, 17);
  const ReplyIoctl reply = Call(kA, file, request);
  std::vector<uint8_t> expected = request.call.buffer;
  expected[28] = NV_ERR_INVALID_CLIENT;
  EXPECT_EQ(reply.call.buffer, expected);
}

TEST_F(TranslateTest, ParametersTakeNoClientForOnesOwn) {
  const FileId file = Open(kA);
  const uint32_t client = NewClient(kA, file);
  Call(kA, file, MakeObject(client, client, 5).Add(56, 0, 16));
  ASSERT_TRUE(ReachedDriver());
  EXPECT_EQ(At(sent_, 1, 4), 0u);
}

TEST_F(TranslateTest, UvmTakesNoClientForNone) {
  const FileId uvm = Open(kA, kUvm);
  EXPECT_EQ(Call(kA, uvm, Request(kUvmRegisterGpu, 40)).error, 0);
  EXPECT_TRUE(ReachedDriver());
  EXPECT_EQ(At(sent_, 0, 28), 0u);
}

TEST_F(TranslateTest, AClientIsBoundToItsFile) {
  const FileId file = Open(kA), other = Open(kA), uvm = Open(kA, kUvm);
  const uint32_t client = NewClient(kA, file);
  EXPECT_TRUE(Refused(Call(kA, other, Control(client, client, 0x201, 128)), NV_ERR_INVALID_CLIENT, 28));
  EXPECT_EQ(At(Call(kA, file, Control(client, client, 0x201, 128)), 0, 28), 0u);
  // UVM asks by handle, whatever the file.
  EXPECT_EQ(Call(kA, uvm, Request(kUvmRegisterGpu, 40).U32(0, 28, client)).error, 0);
  EXPECT_EQ(At(sent_, 0, 28), last_real_);
  // And so does the source of a dup.
  const uint32_t second = NewClient(kA, other);
  Call(kA, other, Request(kDup, 28).U32(0, 0, second).U32(0, 8, 9).U32(0, 12, client).U32(0, 16, 1));
  EXPECT_TRUE(ReachedDriver());
  EXPECT_EQ(core_.Statistics(kA).objects, 1u);
}

TEST_F(TranslateTest, ARegisteredDeviceFileMayUseTheClientsOfItsCtlFile) {
  const FileId ctl = Open(kA), gpu = Open(kA, kGpu), unregistered = Open(kA, kGpu);
  const uint32_t client = NewClient(kA, ctl);
  const Request event = Request(Escape(0xce, 16), 16).U32(0, 0, client).U32(0, 8, 30);
  EXPECT_TRUE(Refused(Call(kA, gpu, event), NV_ERR_INVALID_CLIENT, 12));
  Call(kA, gpu, Request(kRegisterFd, 4).U32(0, 0, 12).File(0, 0, ctl));
  ASSERT_TRUE(ReachedDriver());
  EXPECT_EQ(At(sent_, 0, 0), 0xffffffffu) << "the guest's fd number";
  ASSERT_EQ(sent_.call.files.size(), 1u);
  Call(kA, gpu, event);
  EXPECT_TRUE(ReachedDriver());
  EXPECT_TRUE(Refused(Call(kA, unregistered, event), NV_ERR_INVALID_CLIENT, 12));
}

TEST_F(TranslateTest, OnlyACtlFileOfOnesOwnCanBeRegisteredTo) {
  const FileId gpu = Open(kA, kGpu), uvm = Open(kA, kUvm), others = Open(kA, kCtl, 2);
  Open(kB);
  Open(kB);
  Open(kB);
  const FileId foreign = Open(kB);
  EXPECT_TRUE(RefusedErrno(Call(kA, gpu, Request(kRegisterFd, 4).File(0, 0, uvm)), EINVAL));
  EXPECT_TRUE(RefusedErrno(Call(kA, gpu, Request(kRegisterFd, 4).File(0, 0, gpu)), EINVAL));
  EXPECT_TRUE(RefusedErrno(Call(kA, gpu, Request(kRegisterFd, 4).File(0, 0, others)), EINVAL));
  EXPECT_TRUE(RefusedErrno(Call(kA, gpu, Request(kRegisterFd, 4).File(0, 0, foreign)), EINVAL));
  EXPECT_TRUE(RefusedErrno(Call(kA, gpu, Request(kRegisterFd, 4)), EINVAL));
  EXPECT_TRUE(RefusedErrno(Call(kA, gpu, Request(kRegisterFd, 4).File(1, 0, others)), EINVAL));
}

TEST_F(TranslateTest, ACtlFileLivesAsLongAsAFileThatIsRegisteredToIt) {
  const FileId ctl = Open(kA), gpu = Open(kA, kGpu);
  const uint32_t client = NewClient(kA, ctl);
  Call(kA, gpu, Request(kRegisterFd, 4).File(0, 0, ctl));
  Step(FileHungUp{kA, ctl});
  EXPECT_EQ(CountOf<DriverClose>(actions_), 0u);
  EXPECT_EQ(core_.Statistics(kA).clients, 1u);
  Call(kA, gpu, Control(client, client, 0x201, 128));
  EXPECT_TRUE(ReachedDriver());
  Step(FileHungUp{kA, gpu});
  EXPECT_EQ(CountOf<DriverClose>(actions_), 2u);
  EXPECT_EQ(core_.Statistics(kA).clients, 0u);
  EXPECT_EQ(core_.Statistics(kA).files, 0u);
}

TEST_F(TranslateTest, AFileThatIsRegisteredItselfCannotBeRegisteredTo) {
  const FileId first = Open(kA), second = Open(kA), gpu = Open(kA, kGpu);
  Call(kA, gpu, Request(kRegisterFd, 4).File(0, 0, first));
  EXPECT_TRUE(RefusedErrno(Call(kA, first, Request(kRegisterFd, 4).File(0, 0, first)), EINVAL));
  EXPECT_TRUE(RefusedErrno(Call(kA, second, Request(kRegisterFd, 4).File(0, 0, gpu)), EINVAL));
}

TEST_F(TranslateTest, AFailedRegistrationRegistersNothing) {
  const FileId ctl = Open(kA), gpu = Open(kA, kGpu);
  const uint32_t client = NewClient(kA, ctl);
  answer_ = [](DriverCall&) { return EINVAL; };
  Call(kA, gpu, Request(kRegisterFd, 4).File(0, 0, ctl));
  EXPECT_TRUE(Refused(Call(kA, gpu, Control(client, client, 0x201, 128)), NV_ERR_INVALID_CLIENT, 28));
}

// ---- Objects ----

TEST_F(TranslateTest, ObjectsAreCountedAndFreedWithTheirDescendants) {
  const FileId file = Open(kA);
  const uint32_t client = NewClient(kA, file);
  Call(kA, file, MakeObject(client, client, 1));
  Call(kA, file, MakeObject(client, 1, 2, 0x2080));
  Call(kA, file, MakeObject(client, 2, 0, 0x2081));  // the driver chooses 0xcaf00000
  Call(kA, file, Request(kVidHeap, 184).U32(0, 0, client).U32(0, 4, 1).U32(0, 8, 2).U32(0, 44, 7));
  EXPECT_EQ(core_.Statistics(kA).objects, 4u);
  Call(kA, file, Request(kVidHeap, 184).U32(0, 0, client).U32(0, 8, 3).U32(0, 44, 7));
  EXPECT_EQ(core_.Statistics(kA).objects, 3u);
  Call(kA, file, Free(client, 2));
  EXPECT_EQ(core_.Statistics(kA).objects, 1u);
  Call(kA, file, Free(client, client));
  EXPECT_EQ(core_.Statistics(kA).clients, 0u);
  EXPECT_EQ(core_.Statistics(kA).objects, 0u);
}

// Real numbers are sequential and easy to guess. Were one passed on as an object, the driver would free the
// client and the table keep it, and it would soon be somebody else's.
TEST_F(TranslateTest, AClientCannotBeFreedUnderItsRealNumber) {
  const FileId file = Open(kA);
  const uint32_t client = NewClient(kA, file);
  ASSERT_NE(client, last_real_);
  EXPECT_TRUE(Refused(Call(kA, file, Free(client, last_real_)), NV_ERR_OBJECT_NOT_FOUND, 12));
  for (uint32_t number : {client, last_real_}) {
    Request request(kVidHeap, 184);
    request.U32(0, 0, client).U32(0, 8, 3).U32(0, 44, number);
    EXPECT_TRUE(Refused(Call(kA, file, request), NV_ERR_OBJECT_NOT_FOUND, 20));
  }
  EXPECT_EQ(core_.Statistics(kA).clients, 1u);
}

TEST_F(TranslateTest, AnObjectCannotHaveItsClientsNumber) {
  const FileId file = Open(kA);
  const uint32_t client = NewClient(kA, file);
  for (uint32_t number : {client, last_real_}) {
    EXPECT_TRUE(
        Refused(Call(kA, file, MakeObject(client, client, number)), NV_ERR_INSERT_DUPLICATE_NAME, 28));
    Request request(kVidHeap, 184);
    request.U32(0, 0, client).U32(0, 8, 2).U32(0, 44, number);
    EXPECT_TRUE(Refused(Call(kA, file, request), NV_ERR_INSERT_DUPLICATE_NAME, 20));
  }
}

TEST_F(TranslateTest, ClientsAndObjectsOverTheLimitAreRefusedBeforeTheDriver) {
  const FileId file = Open(kA);
  const uint32_t client = NewClient(kA, file);
  for (uint32_t i = 1; i < kClientsPerGuest; ++i) NewClient(kA, file);
  EXPECT_TRUE(Refused(Call(kA, file, MakeClient()), NV_ERR_INSUFFICIENT_RESOURCES, 28));
  for (uint32_t i = 1; i <= kObjectsPerGuest; ++i) {
    std::vector<Action> actions;
    core_.Step(
        IoctlRequested{Token(kA), i, static_cast<uint32_t>(file), MakeObject(client, client, i).call, {}},
        &actions);
    DriverIoctl& sent = std::get<DriverIoctl>(actions[0]);
    core_.Step(DriverReturned{sent.token, 0, std::move(sent.call)}, &actions);
  }
  EXPECT_TRUE(Refused(Call(kA, file, MakeObject(client, client, 0)), NV_ERR_INSUFFICIENT_RESOURCES, 28));
  EXPECT_EQ(core_.Statistics(kA).objects, kObjectsPerGuest);
  EXPECT_EQ(CountOf<NoteRefusal>(actions_), 1u);
  const FileId others = Open(kB);
  EXPECT_EQ(At(Call(kB, others, MakeClient()), 0, 28), 0u);
}

// The driver names an object when it is asked to: were it the client's number, the object and the memory that
// it has would be in no account.
TEST_F(TranslateTest, AClientCannotHaveANumberThatTheDriverGivesToObjects) {
  const FileId file = Open(kA);
  EXPECT_TRUE(Refused(Call(kA, file, MakeClient(0xcaf00000)), NV_ERR_INSERT_DUPLICATE_NAME, 28));
  EXPECT_TRUE(Refused(Call(kA, file, MakeClient(0xcaf7ffff)), NV_ERR_INSERT_DUPLICATE_NAME, 28));
  EXPECT_EQ(At(Call(kA, file, MakeClient(0xcaf80000)), 0, 8), 0xcaf80000);
}

}  // namespace
}  // namespace nvshim::broker
