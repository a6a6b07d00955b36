// Laws of the core, one request at a time: what reaches the driver, what comes back, whose it is, and what is
// left when files hang up and processes die. The driver here answers by script; broker/driver/sim is not
// involved.
#include "broker/core/core.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <functional>
#include <map>
#include <set>
#include <utility>

#include "broker/core/limits.h"

namespace nvshim::broker {
namespace {

constexpr GuestId kA{1};
constexpr GuestId kB{2};
constexpr uint32_t kCtl = 1, kGpu = 2, kUvm = 3;  // DeviceClass, as frames say it

constexpr uint32_t Escape(uint32_t number, uint32_t size_bytes) {
  return 3u << 30 | size_bytes << 16 | abi::kEscapeType << 8 | number;
}
constexpr uint32_t kFree = Escape(0x29, 16);
constexpr uint32_t kControl = Escape(0x2a, 32);
constexpr uint32_t kAlloc = Escape(0x2b, 32);
constexpr uint32_t kDup = Escape(0x34, 28);
constexpr uint32_t kVidHeap = Escape(0x4a, 184);
constexpr uint32_t kMapMemory = Escape(0x4e, 56);
constexpr uint32_t kRegisterFd = Escape(0xc9, 4);
constexpr uint32_t kUvmRegisterGpu = 0x25;

// A request put together segment by segment.
struct Request {
  DriverCall call;
  std::vector<FileReferenceUntrusted> files;

  Request(uint32_t command, uint32_t struct_bytes) {
    call.command = command;
    if (struct_bytes != 0) Add(struct_bytes, 0, 0);
  }
  Request& Add(uint32_t size_bytes, uint32_t parent, uint32_t pointer_offset) {
    call.segments.push_back({static_cast<uint32_t>(call.buffer.size()), size_bytes, parent, pointer_offset});
    call.buffer.resize(call.buffer.size() + (size_bytes + 7) / 8 * 8);
    return *this;
  }
  Request& U32(uint32_t segment, uint32_t offset, uint32_t value) {
    Put<uint32_t>(call.Bytes(segment), offset, value);
    return *this;
  }
  Request& U64(uint32_t segment, uint32_t offset, uint64_t value) {
    Put<uint64_t>(call.Bytes(segment), offset, value);
    return *this;
  }
  Request& File(uint32_t segment, uint32_t offset, FileId file) {
    files.push_back({segment, offset, static_cast<uint32_t>(file)});
    return *this;
  }
};

Request MakeClient(uint32_t wanted = 0) {
  return Request(kAlloc, 32).U32(0, 8, wanted).U32(0, 12, 0x41).U64(0, 16, 0x7fff0000).Add(4, 0, 16);
}
Request MakeObject(uint32_t client, uint32_t parent, uint32_t object, uint32_t rm_class = 0x80) {
  return Request(kAlloc, 32).U32(0, 0, client).U32(0, 4, parent).U32(0, 8, object).U32(0, 12, rm_class);
}
Request Free(uint32_t client, uint32_t object) {
  return Request(kFree, 16).U32(0, 0, client).U32(0, 8, object);
}
Request Control(uint32_t client, uint32_t object, uint32_t cmd, uint32_t params_bytes) {
  Request request(kControl, 32);
  request.U32(0, 0, client).U32(0, 4, object).U32(0, 8, cmd).U32(0, 24, params_bytes);
  request.U64(0, 16, 0x7fff1000);
  if (params_bytes != 0) request.Add(params_bytes, 0, 16);
  return request;
}
Request MapMemory(uint32_t client, FileId onto) {
  return Request(kMapMemory, 56).U32(0, 0, client).U32(0, 48, 33).File(0, 48, onto);
}

template <typename T>
const T* LastOf(const std::vector<Action>& actions) {
  for (auto it = actions.rbegin(); it != actions.rend(); ++it)
    if (const T* one = std::get_if<T>(&*it)) return one;
  return nullptr;
}
template <typename T>
size_t CountOf(const std::vector<Action>& actions) {
  size_t count = 0;
  for (const Action& action : actions) count += std::holds_alternative<T>(action);
  return count;
}

class CoreTest : public ::testing::Test {
 protected:
  CoreTest() : core_(abi::FindTable("535.261.03"), {0, 1}) {
    for (GuestId guest : {kA, kB}) {
      Step(GuestAdded{guest});
      Step(ProcessAttached{guest, ProcessId{1}});
      Step(ProcessAttached{guest, ProcessId{2}});
    }
  }

  static CallToken Token(GuestId guest, uint32_t process = 1, uint32_t lane = 0) {
    return {guest, static_cast<ProcessId>(process), lane};
  }

  // Steps, and lets the driver answer at once unless it is held up. Keeps all actions of this event.
  void Step(Event event) {
    actions_.clear();
    StepOn(std::move(event));
  }
  void StepOn(Event event) {
    std::vector<Action> actions;
    core_.Step(std::move(event), &actions);
    for (Action& action : actions) {
      actions_.push_back(action);
      Do(std::move(action));
    }
  }

  void Do(Action action) {
    if (const auto* open = std::get_if<DriverOpen>(&action)) {
      if (held_up_) return;
      AnswerOpen(open->token);
    } else if (auto* ioctl = std::get_if<DriverIoctl>(&action)) {
      EXPECT_TRUE(open_.contains(ioctl->file)) << "a call on a file that is not open";
      for (const CallFile& file : ioctl->call.files) EXPECT_TRUE(open_.contains(file.file));
      sent_ = *ioctl;
      if (held_up_) return;
      Answer();
    } else if (const auto* close = std::get_if<DriverClose>(&action)) {
      EXPECT_EQ(open_.erase(close->file), 1u) << "closed twice, or never opened";
    }
  }

  void AnswerOpen(const CallToken& token) {
    if (open_error_ == 0) open_.insert(++last_file_);
    StepOn(DriverOpened{token, {open_error_, open_error_ == 0 ? last_file_ : 0}});
  }

  // The driver answers the call it was sent last.
  void Answer() {
    DriverIoctl answered = sent_;
    const int error = answer_(answered.call);
    StepOn(DriverReturned{answered.token, error, std::move(answered.call)});
  }

  // An ordinary driver: status OK; a new client gets a real number, an object without one 0xcaf00000.
  int Ordinary(DriverCall& call) {
    if (call.command != kAlloc) return 0;
    const uint32_t rm_class = Get<uint32_t>(call.Bytes(0), 12);
    if (rm_class == 0x41) {
      Put<uint32_t>(call.Bytes(0), 8, ++last_real_);
      if (call.segments.size() > 1) Put<uint32_t>(call.Bytes(1), 0, last_real_);
    } else if (Get<uint32_t>(call.Bytes(0), 8) == 0) {
      Put<uint32_t>(call.Bytes(0), 8, 0xcaf00000);
    }
    return 0;
  }

  // Fills every byte of every segment, then sets the status.
  static int Scribble(DriverCall& call, uint32_t status_offset, uint32_t status) {
    std::fill(call.buffer.begin(), call.buffer.end(), 0xab);
    Put<uint32_t>(call.Bytes(0), status_offset, status);
    return 0;
  }

  FileId Open(GuestId guest, uint32_t device_class = kCtl, uint32_t process = 1) {
    Step(OpenRequested{Token(guest, process), 9, device_class, 0, O_RDWR});
    const auto* reply = LastOf<ReplyOpen>(actions_);
    EXPECT_TRUE(reply != nullptr && reply->error == 0);
    return reply == nullptr ? FileId::kNone : reply->file;
  }

  // Sends a request and returns its reply.
  ReplyIoctl Call(GuestId guest, FileId file, const Request& request, uint32_t process = 1,
                  uint32_t lane = 0) {
    Step(IoctlRequested{Token(guest, process, lane), ++sequence_, static_cast<uint32_t>(file), request.call,
                        request.files});
    const auto* reply = LastOf<ReplyIoctl>(actions_);
    EXPECT_EQ(CountOf<ReplyIoctl>(actions_), held_up_ ? 0u : 1u);
    if (reply == nullptr) return {};
    EXPECT_EQ(reply->sequence, sequence_);
    EXPECT_EQ(reply->token.guest, guest);
    return *reply;
  }

  uint32_t NewClient(GuestId guest, FileId file) {
    return Get<uint32_t>(Call(guest, file, MakeClient()).call.Bytes(0), 8);
  }

  bool ReachedDriver() const { return CountOf<DriverIoctl>(actions_) != 0; }

  static uint32_t At(const ReplyIoctl& reply, uint32_t segment, uint32_t offset) {
    return Get<uint32_t>(reply.call.Bytes(segment), offset);
  }
  static uint32_t At(const DriverIoctl& sent, uint32_t segment, uint32_t offset) {
    return Get<uint32_t>(sent.call.Bytes(segment), offset);
  }

  ::testing::AssertionResult Refused(const ReplyIoctl& reply, uint32_t status, uint32_t status_offset) {
    if (ReachedDriver()) return ::testing::AssertionFailure() << "reached the driver";
    if (reply.error != 0 || !reply.with_segments)
      return ::testing::AssertionFailure() << "errno " << reply.error;
    const uint32_t got = At(reply, 0, status_offset);
    if (got != status) return ::testing::AssertionFailure() << "status " << got;
    return ::testing::AssertionSuccess();
  }
  ::testing::AssertionResult RefusedErrno(const ReplyIoctl& reply, int error) {
    if (ReachedDriver()) return ::testing::AssertionFailure() << "reached the driver";
    if (reply.error != error) return ::testing::AssertionFailure() << "errno " << reply.error;
    if (reply.with_segments) return ::testing::AssertionFailure() << "with segments";
    return ::testing::AssertionSuccess();
  }

  Core core_;
  std::function<int(DriverCall&)> answer_ = [this](DriverCall& call) { return Ordinary(call); };
  bool held_up_ = false;  // the driver does not answer until Answer or AnswerOpen
  int open_error_ = 0;
  DriverIoctl sent_{};
  std::vector<Action> actions_;
  std::set<DriverFileId> open_;
  DriverFileId last_file_ = 40;
  uint32_t last_real_ = 0xc1d00777;
  uint32_t sequence_ = 100;
};

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

// ---- A call and its bytes ----

TEST_F(CoreTest, AnIoctlReachesTheDriverOnTheRightFileAndComesBack) {
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

TEST_F(CoreTest, TheErrnoOfTheDriverIsTheGuests) {
  const FileId file = Open(kA);
  answer_ = [](DriverCall&) { return EFAULT; };
  EXPECT_EQ(Call(kA, file, MakeClient()).error, EFAULT);
  EXPECT_EQ(core_.Statistics(kA).clients, 0u);
}

TEST_F(CoreTest, NothingIsRecordedOfACallThatTheDriverRefused) {
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

TEST_F(CoreTest, TheDriverSeesNeitherPointersNorFdsNorVirtualClients) {
  const FileId file = Open(kA);
  const uint32_t client = NewClient(kA, file);
  Call(kA, file, Control(client, client, 0x201, 128));
  EXPECT_EQ(Get<uint64_t>(sent_.call.Bytes(0), 16), 0u);
  EXPECT_EQ(At(sent_, 0, 0), last_real_);
  EXPECT_EQ(At(sent_, 0, 4), last_real_) << "the client as its own root object";
  Call(kA, file, Request(kMapMemory, 56).U32(0, 0, client).U32(0, 48, 7));
  EXPECT_EQ(At(sent_, 0, 48), 0xffffffffu);
}

TEST_F(CoreTest, WhatTheDriverMayNotWriteIsTheGuestsInTheReplyOfAControl) {
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

TEST_F(CoreTest, EmbeddedPointersAreTheGuestsInTheReply) {
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

TEST_F(CoreTest, ACountThatWasLoweredForTheDriverIsTheGuestsInTheReply) {
  const FileId file = Open(kA);
  const uint32_t client = NewClient(kA, file);
  const ReplyIoctl reply = Call(kA, file, Control(client, client, 0x101, 40).U32(1, 0, 5000).Add(256, 1, 8));
  EXPECT_EQ(At(sent_, 1, 0), 256u);
  EXPECT_EQ(At(reply, 1, 0), 5000u);
}

TEST_F(CoreTest, AnEventsCookieIsTheGuestsInTheReplyToTheLastByte) {
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

TEST_F(CoreTest, AnAddressOfTheGuestIsTheGuestsInTheReply) {
  const FileId file = Open(kA);
  const uint32_t client = NewClient(kA, file);
  const ReplyIoctl reply =
      Call(kA, file, Request(Escape(0x27, 56), 56).U32(0, 0, client).U32(0, 12, 0x71).U64(0, 24, 0x7fff2000));
  EXPECT_EQ(Get<uint64_t>(sent_.call.Bytes(0), 24), 0u);
  EXPECT_EQ(Get<uint64_t>(reply.call.Bytes(0), 24), 0x7fff2000u);
}

// Whatever the table says of a call, a driver that writes over everything leaks no number that stood in the
// guest's place.
TEST_F(CoreTest, NoFieldThatIsTranslatedKeepsTheDriversValue) {
  const FileId file = Open(kA);
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
      request.U32(segment, fd.offset, 21).File(segment, fd.offset, file);
    for (uint16_t offset : spec.clients) request.U32(segment, offset, client);
    for (uint16_t offset : spec.objects) request.U32(segment, offset, client);
  };
  const abi::Table& table = *abi::FindTable("535.261.03");
  // A status that says "failed", so that nothing is freed.
  answer_ = [](DriverCall& call) { return Scribble(call, 0, 0xabababab); };
  for (const abi::List<abi::Spec>* specs : {&table.escapes, &table.uvm})
    for (const abi::Spec& spec : *specs) {
      if (spec.shape == abi::Shape::kControl || spec.shape == abi::Shape::kAlloc || spec.size == 0) continue;
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
    Request request = MakeObject(client, client, 5, spec.number);
    request.Add(spec.size, 0, 16);
    fill(spec, request, 1);
    check(spec, Call(kA, file, request), 1);
    EXPECT_TRUE(ReachedDriver()) << spec.name;
  }
  for (const abi::Spec& spec : table.controls) {
    Request request = Control(client, client, spec.number, spec.size);
    if (spec.size != 0) fill(spec, request, 1);
    const ReplyIoctl reply = Call(kA, file, request);
    EXPECT_TRUE(ReachedDriver()) << spec.name;
    if (spec.size != 0) check(spec, reply, 1);
  }
}

// ---- Client handles ----

TEST_F(CoreTest, TheGuestNeverSeesARealClientHandle) {
  const FileId file = Open(kA);
  const ReplyIoctl reply = Call(kA, file, MakeClient());
  EXPECT_EQ(At(reply, 0, 8), 0xc1d00000u);
  EXPECT_EQ(At(reply, 1, 0), 0xc1d00000u) << "pAllocParms receives the number too";
  EXPECT_EQ(At(reply, 0, 0), 0u);
  EXPECT_EQ(Get<uint64_t>(reply.call.Bytes(0), 16), 0x7fff0000u);
  for (uint32_t offset : {0u, 4u, 8u}) EXPECT_EQ(At(sent_, 0, offset), 0u) << "the driver chooses";
}

TEST_F(CoreTest, AClientThatWasNotMadeLeavesNoNumberBehind) {
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

TEST_F(CoreTest, AGuestMayChooseAFreeNumberForItsClient) {
  const FileId file = Open(kA);
  EXPECT_EQ(At(Call(kA, file, MakeClient(0x1234)), 0, 8), 0x1234u);
  EXPECT_TRUE(Refused(Call(kA, file, MakeClient(0x1234)), NV_ERR_INSERT_DUPLICATE_NAME, 28));
  const FileId others = Open(kB);
  EXPECT_EQ(At(Call(kB, others, MakeClient(0x1234)), 0, 8), 0x1234u)
      << "numbers of one guest mean nothing to another";
}

TEST_F(CoreTest, TwoGuestsHaveTheSameNumbersForDifferentClients) {
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

TEST_F(CoreTest, AnothersClientDoesNotExist) {
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

TEST_F(CoreTest, ARefusedCallComesBackAsItWasSentButForTheStatus) {
  const FileId file = Open(kA);
  const Request request = Control(0x99, 0x98, 0x201, 128).U32(1, 4, 17);
  const ReplyIoctl reply = Call(kA, file, request);
  std::vector<uint8_t> expected = request.call.buffer;
  expected[28] = NV_ERR_INVALID_CLIENT;
  EXPECT_EQ(reply.call.buffer, expected);
}

TEST_F(CoreTest, UvmTakesNoClientForNone) {
  const FileId uvm = Open(kA, kUvm);
  EXPECT_EQ(Call(kA, uvm, Request(kUvmRegisterGpu, 40)).error, 0);
  EXPECT_TRUE(ReachedDriver());
  EXPECT_EQ(At(sent_, 0, 28), 0u);
}

TEST_F(CoreTest, AClientIsBoundToItsFile) {
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

TEST_F(CoreTest, ARegisteredDeviceFileMayUseTheClientsOfItsCtlFile) {
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

TEST_F(CoreTest, OnlyACtlFileOfOnesOwnCanBeRegisteredTo) {
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

TEST_F(CoreTest, AFailedRegistrationRegistersNothing) {
  const FileId ctl = Open(kA), gpu = Open(kA, kGpu);
  const uint32_t client = NewClient(kA, ctl);
  answer_ = [](DriverCall&) { return EINVAL; };
  Call(kA, gpu, Request(kRegisterFd, 4).File(0, 0, ctl));
  EXPECT_TRUE(Refused(Call(kA, gpu, Control(client, client, 0x201, 128)), NV_ERR_INVALID_CLIENT, 28));
}

// ---- Files ----

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

// ---- Objects ----

TEST_F(CoreTest, ObjectsAreCountedAndFreedWithTheirDescendants) {
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
TEST_F(CoreTest, AClientCannotBeFreedUnderItsRealNumber) {
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

TEST_F(CoreTest, AnObjectCannotHaveItsClientsNumber) {
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

TEST_F(CoreTest, ClientsAndObjectsOverTheLimitAreRefusedBeforeTheDriver) {
  const FileId file = Open(kA);
  const uint32_t client = NewClient(kA, file);
  for (uint32_t i = 1; i < kClientsPerGuestMax; ++i) NewClient(kA, file);
  EXPECT_TRUE(Refused(Call(kA, file, MakeClient()), NV_ERR_INSUFFICIENT_RESOURCES, 28));
  for (uint32_t i = 1; i <= kObjectsPerGuestMax; ++i) Call(kA, file, MakeObject(client, client, i));
  EXPECT_TRUE(Refused(Call(kA, file, MakeObject(client, client, 0)), NV_ERR_INSUFFICIENT_RESOURCES, 28));
  EXPECT_EQ(core_.Statistics(kA).objects, kObjectsPerGuestMax);
  EXPECT_EQ(CountOf<NoteRefusal>(actions_), 1u);
  const FileId others = Open(kB);
  EXPECT_EQ(At(Call(kB, others, MakeClient()), 0, 28), 0u);
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

TEST_F(CoreTest, RefusalsAreCountedEachAndNotedOnce) {
  const FileId file = Open(kA);
  for (int i = 0; i < 3; ++i) {
    Call(kA, file, Request(Escape(0xfe, 16), 16));
    EXPECT_EQ(CountOf<NoteRefusal>(actions_), i == 0 ? 1u : 0u);
  }
  Call(kA, file, Request(Escape(0xfd, 16), 16));
  EXPECT_EQ(CountOf<NoteRefusal>(actions_), 1u) << "another number is another line";
  EXPECT_EQ(core_.Statistics(kA).counters.refusals[static_cast<size_t>(Reason::kUnknownEscape)], 4u);
  Call(kB, Open(kB), Request(Escape(0xfe, 16), 16));
  EXPECT_EQ(CountOf<NoteRefusal>(actions_), 1u) << "and another guest too";
}

TEST_F(CoreTest, AGuestThatInventsNumbersIsNotedABoundedNumberOfTimes) {
  const FileId file = Open(kA);
  const uint32_t client = NewClient(kA, file);
  size_t notes = 0;
  for (uint32_t i = 0; i < 2 * kNotedRefusalsPerGuestMax; ++i) {
    Call(kA, file, Control(client, client, 0xdead0000 + i, 8));
    notes += CountOf<NoteRefusal>(actions_);
  }
  EXPECT_EQ(notes, kNotedRefusalsPerGuestMax);
}

}  // namespace
}  // namespace nvshim::broker
