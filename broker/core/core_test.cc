// Laws of the core, one request at a time: which files, calls and processes there are, and what is left when
// files hang up and processes die.
#include "broker/core/core.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <utility>
#include <vector>

#include "broker/core/core_test_fixture.h"
#include "broker/core/limits.h"

namespace nvshim::broker {
namespace {

// ---- Open ----

TEST_F(CoreTest, AnOpenIsPassedOnAndAnswered) {
  Step(OpenRequested{Token(kA), 5, kGpu, 1, O_RDWR});
  const auto* open = LastOf<DriverOpen>(actions_);
  ASSERT_NE(open, nullptr);
  EXPECT_EQ(open->node.device_class, DeviceClass::kGpu);
  EXPECT_EQ(open->node.minor, 1u);
  const auto* reply = LastOf<ReplyOpen>(actions_);
  ASSERT_NE(reply, nullptr);
  EXPECT_EQ(reply->error, 0);
  EXPECT_EQ(reply->sequence, 5u);
  EXPECT_TRUE(core_.Holds(kA, ProcessId{1}, static_cast<uint32_t>(reply->file)));
  EXPECT_FALSE(core_.Holds(kA, ProcessId{2}, static_cast<uint32_t>(reply->file)));
  EXPECT_EQ(core_.Statistics(kA).files, 1u);
  EXPECT_EQ(core_.Statistics(kB).files, 0u);
}

TEST_F(CoreTest, FlagsThatMeanNothingForADeviceDoNotReachTheBrokersOpen) {
  Step(OpenRequested{Token(kA), 5, kCtl, 0, O_RDWR | O_NONBLOCK | O_CREAT | O_TRUNC | O_PATH | 0x80000000u});
  EXPECT_EQ(LastOf<DriverOpen>(actions_)->flags, static_cast<uint32_t>(O_RDWR | O_NONBLOCK));
}

TEST_F(CoreTest, DevicesThatTheGuestDoesNotSeeAreNotOpened) {
  const std::vector<std::pair<uint32_t, uint32_t>> nodes = {
      {kGpu, 2}, {kGpu, 0xffffffff}, {0, 0}, {5, 0}, {0x101, 0}, {0xffffffff, 0}, {kCtl, 1}, {kUvm, 255}};
  for (const auto& [device_class, minor] : nodes) {
    Step(OpenRequested{Token(kA), 5, device_class, minor, O_RDWR});
    EXPECT_EQ(LastOf<DriverOpen>(actions_), nullptr) << device_class << " " << minor;
    ASSERT_NE(LastOf<ReplyOpen>(actions_), nullptr);
    EXPECT_EQ(LastOf<ReplyOpen>(actions_)->error, ENODEV);
  }
  EXPECT_EQ(core_.Statistics(kA).files, 0u);
}

TEST_F(CoreTest, AFailedOpenLeavesNothing) {
  open_error_ = EIO;
  Step(OpenRequested{Token(kA), 5, kCtl, 0, O_RDWR});
  EXPECT_EQ(LastOf<ReplyOpen>(actions_)->error, EIO);
  EXPECT_EQ(LastOf<ReplyOpen>(actions_)->file, FileId::kNone);
  EXPECT_EQ(core_.Statistics(kA).files, 0u);
  open_error_ = 0;
  Open(kA);
}

TEST_F(CoreTest, FilesOverTheLimitGetEmfile) {
  for (uint32_t i = 0; i < kFilesPerGuestMax; ++i) Open(kA);
  Step(OpenRequested{Token(kA), 5, kCtl, 0, O_RDWR});
  EXPECT_EQ(LastOf<ReplyOpen>(actions_)->error, EMFILE);
  EXPECT_EQ(LastOf<DriverOpen>(actions_), nullptr);
  Open(kB);  // nobody else's concern
}

// The id of the next file is easy to guess; another thread of the process may name it early.
TEST_F(CoreTest, AFileIsNotThereBeforeTheDriverHasOpenedIt) {
  const FileId id = Open(kA);
  Step(FileHungUp{kA, id});
  const auto next = static_cast<FileId>(static_cast<uint32_t>(id) + 0x1000);
  held_up_ = true;
  Step(OpenRequested{Token(kA, 1, 0), 5, kCtl, 0, O_RDWR});
  held_up_ = false;
  EXPECT_TRUE(RefusedErrno(Call(kA, next, MakeClient(), 1, 1), ENODEV));
  AnswerOpen(Token(kA, 1, 0));
  ASSERT_EQ(LastOf<ReplyOpen>(actions_)->file, next);
  EXPECT_EQ(Call(kA, next, MakeClient(), 1, 1).error, 0);
}

// ---- Files ----

TEST_F(CoreTest, AnEventOfADriverFileIsThatOfTheGuestsFile) {
  Open(kA);
  const FileId file = Open(kB);
  const DriverFileId driver_file = last_file_;
  Step(FileSignalled{driver_file});
  ASSERT_EQ(actions_.size(), 1u);
  ASSERT_TRUE(std::holds_alternative<SignalFile>(actions_[0]));
  EXPECT_EQ(std::get<SignalFile>(actions_[0]).guest, kB);
  EXPECT_EQ(std::get<SignalFile>(actions_[0]).file, file);
  Step(FileHungUp{kB, file});
  Step(FileSignalled{driver_file});
  EXPECT_TRUE(actions_.empty()) << "closed meanwhile";
  Step(FileSignalled{driver_file + 1});
  EXPECT_TRUE(actions_.empty()) << "never opened";
}

TEST_F(CoreTest, AnothersFileDoesNotExist) {
  const FileId file = Open(kA);
  EXPECT_TRUE(RefusedErrno(Call(kB, file, MakeClient()), ENODEV));
  EXPECT_TRUE(RefusedErrno(Call(kA, file, MakeClient(), 2), ENODEV)) << "of a process that does not hold it";
  for (uint32_t number : {0u, 0xffffffffu, static_cast<uint32_t>(file) + 1})
    EXPECT_TRUE(RefusedErrno(Call(kA, static_cast<FileId>(number), MakeClient()), ENODEV));
}

TEST_F(CoreTest, AProcessThatProvesThatItHoldsAFileMayUseIt) {
  const FileId file = Open(kA);
  Step(FileClaimed{kA, file, 2});
  EXPECT_EQ(Call(kA, file, MakeClient(), 2).error, 0);
  Step(FileClaimed{kA, file, 99});  // no such process
  EXPECT_FALSE(core_.Holds(kA, ProcessId{99}, static_cast<uint32_t>(file)));
  Step(FileClaimed{kB, file, 1});  // of another guest
  EXPECT_FALSE(core_.Holds(kB, ProcessId{1}, static_cast<uint32_t>(file)));
}

TEST_F(CoreTest, HangUpFreesTheClientsAndClosesOnce) {
  const FileId file = Open(kA), other = Open(kA);
  const uint32_t client = NewClient(kA, file);
  Call(kA, file, MakeObject(client, client, 1));
  NewClient(kA, other);
  Step(FileHungUp{kA, file});
  ASSERT_EQ(actions_.size(), 2u);
  EXPECT_TRUE(std::holds_alternative<DriverClose>(actions_[0]));
  EXPECT_EQ(std::get<ClosePlaceholder>(actions_[1]).file, file);
  EXPECT_EQ(core_.Statistics(kA).clients, 1u);
  EXPECT_EQ(core_.Statistics(kA).objects, 0u);
  EXPECT_EQ(core_.Statistics(kA).files, 1u);
  Step(FileHungUp{kA, file});
  EXPECT_TRUE(actions_.empty());
  EXPECT_TRUE(RefusedErrno(Call(kA, file, MakeClient()), ENODEV));
}

TEST_F(CoreTest, AHangUpDuringACallWaitsForIt) {
  const FileId file = Open(kA);
  held_up_ = true;
  Call(kA, file, MakeClient());
  Step(FileHungUp{kA, file});
  EXPECT_TRUE(actions_.empty());
  held_up_ = false;
  EXPECT_TRUE(RefusedErrno(Call(kA, file, MakeClient(), 1, 1), ENODEV)) << "a closed file takes no new calls";
  Answer();
  EXPECT_EQ(CountOf<ReplyIoctl>(actions_), 2u);
  EXPECT_EQ(CountOf<DriverClose>(actions_), 1u);
  EXPECT_EQ(core_.Statistics(kA).clients, 0u);
  EXPECT_EQ(core_.Statistics(kA).files, 0u);
}

TEST_F(CoreTest, AFileThatACallNamesStaysOpenUntilTheCallReturns) {
  const FileId ctl = Open(kA), gpu = Open(kA, kGpu);
  held_up_ = true;
  Call(kA, gpu, Request(kRegisterFd, 4).File(0, 0, ctl));
  Step(FileHungUp{kA, ctl});
  EXPECT_TRUE(actions_.empty()) << "the driver works with it";
  Step(FileHungUp{kA, gpu});
  EXPECT_TRUE(actions_.empty());
  Answer();
  EXPECT_EQ(CountOf<DriverClose>(actions_), 2u);
  EXPECT_TRUE(open_.empty());
  EXPECT_EQ(core_.Statistics(kA).files, 0u);
}

// ---- Mappings ----

TEST_F(CoreTest, AMappingGetsAFreshDriverFileOfTheNamedKind) {
  const FileId ctl = Open(kA), onto = Open(kA, kGpu);
  const uint32_t client = NewClient(kA, ctl);
  const ReplyIoctl reply = Call(kA, ctl, MapMemory(client, onto));
  const auto* open = LastOf<DriverOpen>(actions_);
  ASSERT_NE(open, nullptr);
  EXPECT_EQ(open->node.device_class, DeviceClass::kGpu);
  EXPECT_EQ(open->flags, static_cast<uint32_t>(O_RDWR));
  ASSERT_EQ(sent_.call.files.size(), 1u);
  EXPECT_EQ(sent_.call.File(0, 48), last_file_) << "not the file that the guest named";
  EXPECT_EQ(reply.mapping, last_file_);
  EXPECT_EQ(reply.replace_segment, 0u);
  EXPECT_EQ(reply.replace_field_offset, 48u);
  EXPECT_EQ(At(reply, 0, 48), 33u);
  EXPECT_EQ(core_.Statistics(kA).files, 2u) << "the fresh file is the worker's to close";
}

TEST_F(CoreTest, AFailedMappingClosesItsFreshFile) {
  const FileId ctl = Open(kA), onto = Open(kA, kGpu);
  const uint32_t client = NewClient(kA, ctl);
  answer_ = [](DriverCall& call) {
    Put<uint32_t>(call.Bytes(0), 40, 0x51);
    return 0;
  };
  EXPECT_EQ(Call(kA, ctl, MapMemory(client, onto)).mapping, 0u);
  EXPECT_FALSE(open_.contains(last_file_));
  answer_ = [](DriverCall&) { return EIO; };
  EXPECT_EQ(Call(kA, ctl, MapMemory(client, onto)).mapping, 0u);
  EXPECT_FALSE(open_.contains(last_file_));
}

TEST_F(CoreTest, RegisteredHostMemoryGetsAFreshFileToCarryItsPages) {
  const FileId ctl = Open(kA), gpu = Open(kA, kGpu);
  const uint32_t client = NewClient(kA, ctl);
  Call(kA, gpu, Request(Escape(0xc9, 4), 4).U32(0, 0, 33).File(0, 0, ctl));
  const Request memory = Request(Escape(0x27, 56), 56)
                             .U32(0, 0, client)
                             .U32(0, 8, 0x5c000001)
                             .U32(0, 12, 0x71)
                             .U64(0, 24, 0x7fff2000)
                             .U64(0, 32, 0xfff)
                             .U32(0, 48, 0xffffffff)
                             .Add(24, 0, 24)
                             .U64(1, 8, 0x7fff2000)
                             .U64(1, 16, 0x1000);
  const ReplyIoctl reply = Call(kA, gpu, memory);
  const auto* open = LastOf<DriverOpen>(actions_);
  ASSERT_NE(open, nullptr);
  EXPECT_EQ(open->node.device_class, DeviceClass::kGpu);
  EXPECT_EQ(sent_.call.File(0, 48), last_file_);
  EXPECT_EQ(reply.mapping, last_file_);
  EXPECT_EQ(At(reply, 0, 24), 0x7fff2000u) << "the guest's address stays its own";
  answer_ = [](DriverCall& call) {
    Put<uint32_t>(call.Bytes(0), 40, 0x51);
    return 0;
  };
  EXPECT_EQ(Call(kA, gpu, memory).mapping, 0u);
  EXPECT_FALSE(open_.contains(last_file_));
}

TEST_F(CoreTest, AUvmFileIsMappableFromItsInitialisationOn) {
  const FileId uvm = Open(kA, kUvm);
  const DriverFileId driver_file = last_file_;
  const ReplyIoctl reply = Call(kA, uvm, Request(0x30000001, 16));
  EXPECT_EQ(reply.mappable, driver_file);
  EXPECT_EQ(reply.mapping, 0u);
  EXPECT_TRUE(open_.contains(driver_file)) << "and stays open";
  EXPECT_EQ(Call(kA, uvm, Request(0x17, 16)).mappable, 0u) << "told once";
  answer_ = [](DriverCall& call) {
    Put<uint32_t>(call.Bytes(0), 8, 0x1f);
    return 0;
  };
  EXPECT_EQ(Call(kA, uvm, Request(0x30000001, 16)).mappable, 0u) << "nor after a failure";
}

TEST_F(CoreTest, WithoutAFreshFileThereIsNoMapping) {
  const FileId ctl = Open(kA), onto = Open(kA, kGpu);
  const uint32_t client = NewClient(kA, ctl);
  open_error_ = EMFILE;
  const ReplyIoctl reply = Call(kA, ctl, MapMemory(client, onto));
  EXPECT_EQ(reply.error, EMFILE);
  EXPECT_FALSE(reply.with_segments);
  EXPECT_FALSE(ReachedDriver());
  open_error_ = 0;
  EXPECT_NE(Call(kA, ctl, MapMemory(client, onto)).mapping, 0u) << "the lane is free again";
  EXPECT_EQ(Call(kA, ctl, Control(client, client, 0x201, 128)).mapping, 0u)
      << "and the next call maps nothing";
}

TEST_F(CoreTest, AnothersFileCannotBeMappedOnto) {
  const FileId ctl = Open(kA), held_by_other = Open(kA, kGpu, 2);
  const uint32_t client = NewClient(kA, ctl);
  EXPECT_TRUE(RefusedErrno(Call(kA, ctl, MapMemory(client, held_by_other)), EINVAL));
  EXPECT_EQ(CountOf<DriverOpen>(actions_), 0u);
}

TEST_F(CoreTest, AHangUpWhileTheFreshFileIsOpenedWaitsForTheCall) {
  const FileId ctl = Open(kA), onto = Open(kA, kGpu);
  const uint32_t client = NewClient(kA, ctl);
  held_up_ = true;
  Call(kA, ctl, MapMemory(client, onto));
  Step(FileHungUp{kA, onto});
  Step(FileHungUp{kA, ctl});
  EXPECT_TRUE(actions_.empty());
  held_up_ = false;
  AnswerOpen(Token(kA));
  EXPECT_EQ(CountOf<ReplyIoctl>(actions_), 1u);
  EXPECT_EQ(core_.Statistics(kA).files, 0u);
}

// Another thread frees the client while the fresh file is opened; its real number may be anybody's by then.
TEST_F(CoreTest, AMappingOfAClientThatWasFreedMeanwhileIsRefused) {
  const FileId ctl = Open(kA), onto = Open(kA, kGpu);
  const uint32_t client = NewClient(kA, ctl);
  held_up_ = true;
  Call(kA, ctl, MapMemory(client, onto));
  held_up_ = false;
  Call(kA, ctl, Free(client, client), 1, 1);
  actions_.clear();
  AnswerOpen(Token(kA));
  EXPECT_TRUE(Refused(*LastOf<ReplyIoctl>(actions_), NV_ERR_INVALID_CLIENT, 40));
  EXPECT_FALSE(open_.contains(last_file_));
}

// ---- Processes ----

TEST_F(CoreTest, AProcessThatDiesDuringACallIsForgottenAfterIt) {
  const FileId file = Open(kA);
  held_up_ = true;
  Call(kA, file, MakeClient());
  Step(ProcessGone{kA, ProcessId{1}});
  EXPECT_EQ(core_.Statistics(kA).processes, 2u);
  Answer();
  EXPECT_EQ(core_.Statistics(kA).processes, 1u);
  EXPECT_EQ(core_.Statistics(kA).clients, 1u) << "the file may live on in another process";
  Step(FileHungUp{kA, file});
  EXPECT_EQ(core_.Statistics(kA).clients, 0u);
  EXPECT_TRUE(open_.empty());
}

TEST_F(CoreTest, AProcessThatHasLeftStartsNothing) {
  const FileId file = Open(kA);
  Step(FileClaimed{kA, file, 2});
  held_up_ = true;
  Call(kA, file, MakeClient());
  Step(ProcessGone{kA, ProcessId{1}});
  Step(OpenRequested{Token(kA, 1, 1), 5, kCtl, 0, O_RDWR});
  EXPECT_TRUE(actions_.empty());
  Step(IoctlRequested{Token(kA, 1, 1), 6, static_cast<uint32_t>(file), MakeClient().call, {}});
  EXPECT_TRUE(actions_.empty());
  Step(FileClaimed{kA, file, 1});
  EXPECT_FALSE(core_.Holds(kA, ProcessId{1}, static_cast<uint32_t>(file)));
  EXPECT_TRUE(core_.Holds(kA, ProcessId{2}, static_cast<uint32_t>(file)));
}

TEST_F(CoreTest, AFileOpenedForAProcessThatHasDiedIsClosed) {
  held_up_ = true;
  Step(OpenRequested{Token(kA), 5, kCtl, 0, O_RDWR});
  Step(ProcessGone{kA, ProcessId{1}});
  AnswerOpen(Token(kA));
  EXPECT_NE(LastOf<ReplyOpen>(actions_)->error, 0);
  EXPECT_TRUE(open_.empty());
  EXPECT_EQ(core_.Statistics(kA).files, 0u);
  EXPECT_EQ(core_.Statistics(kA).processes, 1u);
}

TEST_F(CoreTest, AMappingForAProcessThatHasDiedIsClosed) {
  const FileId ctl = Open(kA), onto = Open(kA, kGpu);
  const uint32_t client = NewClient(kA, ctl);
  held_up_ = true;
  Call(kA, ctl, MapMemory(client, onto));
  AnswerOpen(Token(kA));
  Step(ProcessGone{kA, ProcessId{1}});
  Answer();
  EXPECT_EQ(LastOf<ReplyIoctl>(actions_)->mapping, 0u);
  EXPECT_FALSE(open_.contains(last_file_));
}

TEST_F(CoreTest, ALaneHasOneCallAtATime) {
  const FileId file = Open(kA);
  held_up_ = true;
  Call(kA, file, MakeClient());
  Step(IoctlRequested{Token(kA), 7, static_cast<uint32_t>(file), MakeClient().call, {}});
  EXPECT_TRUE(actions_.empty());
  Step(OpenRequested{Token(kA), 8, kCtl, 0, O_RDWR});
  EXPECT_TRUE(actions_.empty());
  Call(kA, file, MakeClient(), 1, 63);
  EXPECT_EQ(CountOf<DriverIoctl>(actions_), 1u) << "another lane is not delayed";
  Step(IoctlRequested{Token(kA, 1, 64), 7, static_cast<uint32_t>(file), MakeClient().call, {}});
  EXPECT_TRUE(actions_.empty()) << "there are 64 lanes";
}

TEST_F(CoreTest, EventsOfUnknownGuestsAndProcessesDoNothing) {
  const GuestId nobody{9};
  Step(ProcessAttached{nobody, ProcessId{1}});
  Step(OpenRequested{Token(nobody), 5, kCtl, 0, O_RDWR});
  Step(IoctlRequested{Token(kA, 9), 6, 0x1000, MakeClient().call, {}});
  EXPECT_TRUE(actions_.empty());
  Step(DriverReturned{Token(kA), 0, {}});
  Step(DriverReturned{Token(nobody), 0, {}});
  Step(FileClaimed{nobody, FileId{0x1000}, 1});
  Step(FileHungUp{nobody, FileId{0x1000}});
  Step(ProcessGone{nobody, ProcessId{1}});
  Step(ProcessGone{kA, ProcessId{9}});
  Step(GuestRemoved{nobody});
  EXPECT_TRUE(actions_.empty());
  EXPECT_EQ(core_.Statistics(nobody).processes, 0u);
}

TEST_F(CoreTest, AGuestIsForgottenWhenNothingOfItIsLeft) {
  const FileId file = Open(kA);
  Step(GuestRemoved{kA});
  EXPECT_EQ(core_.Statistics(kA).counters.opens, 1u);
  Step(ProcessGone{kA, ProcessId{1}});
  Step(ProcessGone{kA, ProcessId{2}});
  Step(GuestRemoved{kA});
  EXPECT_EQ(core_.Statistics(kA).counters.opens, 1u) << "a file is open still";
  Step(FileHungUp{kA, file});
  Step(GuestRemoved{kA});
  EXPECT_EQ(core_.Statistics(kA).counters.opens, 0u);
}

// ---- Refusals ----

TEST_F(CoreTest, WhatIsUnknownGetsTheDriversAnswer) {
  const FileId file = Open(kA);
  const uint32_t client = NewClient(kA, file);
  EXPECT_TRUE(Refused(Call(kA, file, Control(client, client, 0x20800103, 8)), NV_ERR_NOT_SUPPORTED, 28));
  EXPECT_TRUE(Refused(Call(kA, file, MakeObject(client, client, 5, 0x81)), NV_ERR_INVALID_CLASS, 28));
  EXPECT_TRUE(RefusedErrno(Call(kA, file, Request(Escape(0xfe, 16), 16)), EINVAL));
  EXPECT_EQ(NV_ERR_NOT_SUPPORTED, 0x56u);
  EXPECT_EQ(NV_ERR_INVALID_CLASS, 0x22u);
}

TEST_F(CoreTest, ACommandWithoutAStructIsRefused) {
  const FileId file = Open(kA);
  for (uint32_t number : {0x27u, 0x29u, 0x2au, 0x2bu, 0x4au, 0x4eu, 0xc9u})
    EXPECT_TRUE(RefusedErrno(Call(kA, file, Request(Escape(number, 0), 0)), EINVAL)) << number;
}

TEST_F(CoreTest, APolicyCountsFromWhenItIsChanged) {
  const abi::Table& table = *abi::FindTable("535.261.03");
  const FileId file = Open(kA);
  const uint32_t client = NewClient(kA, file);
  Step(PolicyChanged{Verdicts(table)});  // all denied
  Call(kA, file, MakeObject(client, client, 1));
  EXPECT_EQ(CountOf<DriverIoctl>(actions_), 0u);
  EXPECT_EQ(core_.Statistics(kA).clients, 1u);  // what was made stays
  Step(PolicyChanged{Verdicts::OfTable(table)});
  Call(kA, file, MakeObject(client, client, 1));
  EXPECT_EQ(CountOf<DriverIoctl>(actions_), 1u);
}

TEST_F(CoreTest, EachRefusalIsCountedAndNoted) {
  const FileId file = Open(kA);
  for (uint64_t i = 1; i <= 3; ++i) {
    Call(kA, file, Request(Escape(0xfe, 16), 16));
    EXPECT_EQ(CountOf<NoteRefusal>(actions_), 1u);
    EXPECT_EQ(core_.Statistics(kA).counters.refusals[static_cast<size_t>(Reason::kUnknownEscape)], i);
  }
}

}  // namespace
}  // namespace nvshim::broker
