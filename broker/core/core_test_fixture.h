// What the tests of the core share: requests put together segment by segment, and a core with two guests of
// two processes each over a driver that answers by script (broker/driver/sim is not involved). The fixture
// checks on the way that no file is called, passed or closed that is not open.
#ifndef BROKER_CORE_CORE_TEST_FIXTURE_H_
#define BROKER_CORE_CORE_TEST_FIXTURE_H_

#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <functional>
#include <set>
#include <utility>
#include <vector>

#include "broker/core/core.h"

namespace nvshim::broker {

inline constexpr GuestId kA{1};
inline constexpr GuestId kB{2};
inline constexpr uint32_t kCtl = 1, kGpu = 2, kUvm = 3;  // DeviceClass, as frames say it

constexpr uint32_t Escape(uint32_t number, uint32_t size_bytes) {
  return 3u << 30 | size_bytes << 16 | abi::kEscapeType << 8 | number;
}
inline constexpr uint32_t kFree = Escape(0x29, 16);
inline constexpr uint32_t kControl = Escape(0x2a, 32);
inline constexpr uint32_t kAlloc = Escape(0x2b, 32);
inline constexpr uint32_t kDup = Escape(0x34, 28);
inline constexpr uint32_t kVidHeap = Escape(0x4a, 184);
inline constexpr uint32_t kMapMemory = Escape(0x4e, 56);
inline constexpr uint32_t kRegisterFd = Escape(0xc9, 4);
inline constexpr uint32_t kUvmRegisterGpu = 0x25;

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

inline Request MakeClient(uint32_t wanted = 0) {
  return Request(kAlloc, 32).U32(0, 8, wanted).U32(0, 12, 0x41).U64(0, 16, 0x7fff0000).Add(4, 0, 16);
}
inline Request MakeObject(uint32_t client, uint32_t parent, uint32_t object, uint32_t rm_class = 0x80) {
  return Request(kAlloc, 32).U32(0, 0, client).U32(0, 4, parent).U32(0, 8, object).U32(0, 12, rm_class);
}
inline Request Free(uint32_t client, uint32_t object) {
  return Request(kFree, 16).U32(0, 0, client).U32(0, 8, object);
}
inline Request Control(uint32_t client, uint32_t object, uint32_t cmd, uint32_t params_bytes) {
  Request request(kControl, 32);
  request.U32(0, 0, client).U32(0, 4, object).U32(0, 8, cmd).U32(0, 24, params_bytes);
  request.U64(0, 16, 0x7fff1000);
  if (params_bytes != 0) request.Add(params_bytes, 0, 16);
  return request;
}
inline Request MapMemory(uint32_t client, FileId onto) {
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
    Step(OpenRequested{Token(guest, process), 9, device_class, 0, 2 /* O_RDWR */});
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

}  // namespace nvshim::broker

#endif  // BROKER_CORE_CORE_TEST_FIXTURE_H_
