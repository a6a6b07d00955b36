// Law: for every call of every driver version, the reply is the guest's own bytes, but for what the driver
// may write. A driver that turns over every bit of every buffer changes neither a pointer, a descriptor, a
// handle of a client or of an object, a share policy, nor a buffer that it only reads; all else arrives as it
// wrote it. Prints how many bytes of each kind of call were looked at.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "broker/core/core.h"
#include "broker/core/verdict.h"
#include "proto/abi/exported_objects.h"
#include "testing/hostile/honest_request.h"

namespace nvshim::testing {
namespace {

using namespace nvshim::broker;  // the subject

constexpr GuestId kGuest{1};
constexpr uint32_t kFailed = 0xffff;  // NV_ERR_GENERIC: nothing is made, freed or recorded
constexpr uint32_t kAllocMemory = abi::kAllocMemoryNumber;

class ReplyBytesTest : public ::testing::TestWithParam<const abi::Table*> {
 protected:
  ReplyBytesTest() : core_(&table_, {0}) {
    Step(GuestAdded{kGuest});
    Step(ProcessAttached{kGuest, ProcessId{1}});
    own_.ctl = Open(DeviceClass::kCtl);
    own_.gpu = Open(DeviceClass::kGpu);
    own_.uvm = Open(DeviceClass::kUvm);
    const HonestRequest client =
        MakeHonestRequest(table_, Kind::kClass, *abi::Find(table_.classes, 0x41), {});
    turns_over_ = false;
    own_.client = Get<uint32_t>(Ask(client).call.Bytes(0), abi::nvos21::kObjectNew);
    turns_over_ = true;
  }

  void Step(Event event) {
    std::vector<Action> actions;
    core_.Step(std::move(event), &actions);
    for (Action& action : actions) std::visit([&](auto& one) { Do(one); }, action);
  }

  template <typename T>
  void Do(T&) {}
  void Do(DriverOpen& one) { Step(DriverOpened{one.token, {0, ++last_file_}}); }
  void Do(ReplyOpen& one) { opened_ = static_cast<uint32_t>(one.file); }
  void Do(ReplyIoctl& one) { reply_ = std::move(one); }
  void Do(DriverIoctl& one) {
    reached_driver_ = true;
    if (turns_over_) {
      for (uint8_t& byte : one.call.buffer) byte = static_cast<uint8_t>(~byte);
      if (status_offset_ != abi::kNone) Put<uint32_t>(one.call.Bytes(0), status_offset_, kFailed);
    } else {
      Put<uint32_t>(one.call.Bytes(0), abi::nvos21::kObjectNew, 0xc1d00777);
    }
    written_ = one.call;
    Step(DriverReturned{one.token, 0, std::move(one.call)});
  }

  uint32_t Open(DeviceClass device_class) {
    Step(OpenRequested{{kGuest, ProcessId{1}, 0}, ++sequence_, static_cast<uint32_t>(device_class), 0, 2});
    return opened_;
  }

  ReplyIoctl& Ask(const HonestRequest& request) {
    const uint32_t file = request.on == DeviceClass::kCtl   ? own_.ctl
                          : request.on == DeviceClass::kGpu ? own_.gpu
                                                            : own_.uvm;
    status_offset_ = request.status_offset;
    reached_driver_ = false;
    reply_ = {};
    Step(IoctlRequested{{kGuest, ProcessId{1}, 0}, ++sequence_, file, request.call, request.files});
    return reply_;
  }

  // Which bytes of the buffer are the guest's own, whatever the driver does.
  std::vector<bool> OwnBytes(Kind kind, const abi::Spec& spec, const DriverCall& call) {
    std::vector<bool> own(call.buffer.size());
    const auto mark = [&](uint32_t segment, uint32_t offset, uint32_t width) {
      std::fill_n(own.begin() + call.segments[segment].offset + offset, width, true);
    };
    const auto mark_fields = [&](const abi::Spec& fields, uint32_t segment) {
      for (const abi::Pointer& pointer : fields.pointers) {
        mark(segment, pointer.offset, 8);
        const uint32_t child = call.Child(segment, pointer.offset);
        if (child != 0 && pointer.direction == abi::Direction::kIn)
          mark(child, 0, call.segments[child].size_bytes);
      }
      for (const abi::FdField& fd : fields.fds) mark(segment, fd.offset, 4);
      for (uint16_t client : fields.clients) mark(segment, client, 4);
      for (uint16_t object : fields.objects) mark(segment, object, 4);
      if (fields.share_policy_offset != abi::kNone) mark(segment, fields.share_policy_offset, 12);
    };
    const bool nests = kind == Kind::kControl || kind == Kind::kClass || spec.shape == abi::Shape::kControl ||
                       spec.shape == abi::Shape::kAlloc;
    if (!nests) {
      mark_fields(spec, 0);
      return own;
    }
    mark_fields(*abi::Find(table_.escapes, abi::IocNumber(call.command), abi::IocSize(call.command)), 0);
    mark(0, abi::nvos54::kParams, 8);
    const uint32_t params = call.Child(0, abi::nvos54::kParams);
    if (params != 0) mark_fields(Nested(kind, spec, call), params);
    // The file is empty: nothing comes out of it that could have a handle.
    if (kind == Kind::kControl && spec.number == abi::kImportObjectFromFd)
      mark(params, abi::import_object::kObject, 4);
    return own;
  }

  const abi::Spec& Nested(Kind kind, const abi::Spec& spec, const DriverCall& call) {
    if (kind == Kind::kControl || kind == Kind::kClass) return spec;
    return spec.shape == abi::Shape::kControl
               ? *abi::FindControl(table_, Get<uint32_t>(call.Bytes(0), abi::nvos54::kCmd))
               : *abi::Find(table_.classes, Get<uint32_t>(call.Bytes(0), abi::nvos21::kClass));
  }

  // The bytes of `request`'s reply that are not what they have to be: "" when all are.
  std::string Wrong(Kind kind, const abi::Spec& spec, const HonestRequest& request) {
    const DriverCall& got = reply_.call;
    if (got.buffer.size() != request.call.buffer.size()) return "the reply is laid out otherwise";
    const std::vector<bool> own = OwnBytes(kind, spec, request.call);
    for (size_t i = 0; i < own.size(); ++i) {
      const uint8_t expected = own[i] ? request.call.buffer[i] : written_.buffer[i];
      if (got.buffer[i] != expected)
        return "byte " + std::to_string(i) + (own[i] ? " is not the guest's own" : " is not the driver's");
    }
    bytes_own_ += static_cast<size_t>(std::count(own.begin(), own.end(), true));
    bytes_ += own.size();
    return "";
  }

  const abi::Table& table_ = *GetParam();
  Core core_;
  Belongings own_;
  bool turns_over_ = true;
  bool reached_driver_ = false;
  uint16_t status_offset_ = abi::kNone;
  DriverCall written_;
  ReplyIoctl reply_{};
  uint32_t opened_ = 0, sequence_ = 0;
  DriverFileId last_file_ = 0;
  size_t bytes_ = 0, bytes_own_ = 0;
};

bool MakesClient(Kind kind, const abi::Spec& spec) {
  return kind == Kind::kClass && (spec.number <= 1 || spec.number == 0x41);
}

TEST_P(ReplyBytesTest, AreTheGuestsOwnButForWhatTheDriverMayWrite) {
  const Verdicts verdicts = Verdicts::OfTable(table_);
  for (Kind kind : kKinds) {
    size_t calls = 0;
    bytes_ = bytes_own_ = 0;
    for (const abi::Spec& spec : SpecsOf(table_, kind)) {
      const Verdict verdict = verdicts.Of(spec);
      // What never reaches the driver comes back as it was sent; a new client's number is neither's own.
      if (verdict == Verdict::kDeny || verdict == Verdict::kAnswer || MakesClient(kind, spec)) continue;
      const HonestRequest request = MakeHonestRequest(table_, kind, spec, own_);
      Ask(request);
      ASSERT_TRUE(reached_driver_) << spec.name << ": status " << [&] {
        return request.status_offset == abi::kNone
                   ? 0
                   : Get<uint32_t>(reply_.call.Bytes(0), request.status_offset);
      }() << ", errno " << reply_.error;
      // A time slice that was cut is the guest's as well, and so is the list of pieces of host memory.
      if (verdict == Verdict::kClamp || spec.number == kAllocMemory) continue;
      EXPECT_EQ(Wrong(kind, spec, request), "") << spec.name;
      ++calls;
    }
    std::printf("%s: %-8s %4zu calls, %6zu bytes, of them %5zu the guest's own\n",
                std::string(table_.driver_version).c_str(), kKindNames[static_cast<int>(kind)], calls, bytes_,
                bytes_own_);
    EXPECT_GT(calls, 15u);
  }
}

INSTANTIATE_TEST_SUITE_P(EveryVersion, ReplyBytesTest,
                         ::testing::ValuesIn(abi::Tables().begin(), abi::Tables().end()),
                         [](const ::testing::TestParamInfo<const abi::Table*>& info) {
                           std::string name(info.param->driver_version);
                           std::replace(name.begin(), name.end(), '.', '_');
                           return name;
                         });

}  // namespace
}  // namespace nvshim::testing
