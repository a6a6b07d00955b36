// Fuzzer of everything behind a lane: ring, framing, codec, core and simulated driver, in one thread and
// without sockets, so that an input always does the same. An input is a list of operations on the regions of
// two guests: raw writes anywhere (header, cursors, frames, pool), frames with a valid header around
// arbitrary bodies, hang-ups and departures. The oracle: no crash, no sanitizer report, one reply per frame
// taken, and nothing left when both guests are gone.
//
//   bazel run --config=fuzz //testing/fuzz:frame_fuzz -- -runs=5000000     coverage-guided, clang's libFuzzer
//   frame_fuzz_test                                                        the same function, random inputs,
//   any compiler
#include <fcntl.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "broker/core/core.h"
#include "broker/driver/sim/sim_driver.h"
#include "broker/io/frame_codec.h"
#include "broker/io/region.h"
#include "broker/io/server_lane.h"
#include "proto/abi/spec.h"

namespace nvshim::testing {
namespace {

using namespace nvshim::broker;  // the subject

constexpr uint32_t kLanes = 4;
constexpr uint32_t kProcess = 1;

// Bytes of the input, then zeros.
class Input {
 public:
  Input(const uint8_t* data, size_t size) : data_(data), left_(size) {}
  bool empty() const { return left_ == 0; }
  uint8_t Byte() {
    if (left_ == 0) return 0;
    --left_;
    return *data_++;
  }
  uint32_t Word() { return Byte() | Byte() << 8 | Byte() << 16 | static_cast<uint32_t>(Byte()) << 24; }
  std::vector<uint8_t> Bytes(size_t size) {
    std::vector<uint8_t> bytes(size);
    for (uint8_t& byte : bytes) byte = Byte();
    return bytes;
  }

 private:
  const uint8_t* data_;
  size_t left_;
};

struct GuestSide {
  GuestSide() : region(*Region::Create()) {
    base = static_cast<uint8_t*>(
        mmap(nullptr, wire::kRegionSizeBytes, PROT_READ | PROT_WRITE, MAP_SHARED, region.memfd(), 0));
    for (uint32_t i = 0; i < kLanes; ++i) {
      lanes[i] = ServerLane(region, i);
      wire::LaneHeader* lane = wire::LaneOf(base, i);
      requests[i] = wire::RingProducer(wire::RequestRingOf(base, i), wire::kRingSizeBytes,
                                       &lane->request_tail, &lane->request_head);
    }
  }
  ~GuestSide() { munmap(base, wire::kRegionSizeBytes); }

  Region region;
  uint8_t* base;
  ServerLane lanes[kLanes];
  SegmentPlaces places[kLanes];
  wire::RingProducer requests[kLanes];
  std::vector<FileId> files;
  bool gone = false;
};

// What a worker does, without its sockets.
class World {
 public:
  World() : driver_(*CreateSimDriver({})), core_(abi::FindTable("535.261.03"), {0}) {
    for (uint32_t i = 0; i < 2; ++i) {
      Step(GuestAdded{static_cast<GuestId>(i)});
      Step(ProcessAttached{static_cast<GuestId>(i), static_cast<ProcessId>(kProcess)});
    }
  }

  void Run(Input& input) {
    while (!input.empty()) Operate(input);
    for (uint32_t i = 0; i < 2; ++i) Leave(i);
    for (uint32_t i = 0; i < 2; ++i) {
      const GuestStatisticsView held = core_.Statistics(static_cast<GuestId>(i));
      if (held.processes + held.files + held.clients + held.objects != 0) abort();
    }
    if (opened_ != closed_) abort();
  }

 private:
  void Operate(Input& input) {
    const uint8_t operation = input.Byte();
    const uint32_t guest = operation & 1;
    GuestSide& side = sides_[guest];
    if (side.gone) return;
    const uint32_t lane = input.Byte() % kLanes;
    switch (operation >> 1 & 7) {
      case 0: {
        const uint64_t at = input.Word() % (wire::kRegionSizeBytes - 256);
        const auto bytes = input.Bytes(input.Byte());
        std::copy(bytes.begin(), bytes.end(), side.base + at);
        break;
      }
      case 1: {
        const uint32_t word = input.Byte() % 5;
        wire::LaneHeader* header = wire::LaneOf(side.base, lane);
        std::atomic<uint32_t>* words[] = {&header->request_tail, &header->request_head,
                                          &header->response_tail, &header->response_head,
                                          &header->guest_waiting};
        words[word]->store(input.Word());
        break;
      }
      case 2:
        if (!side.files.empty())
          Step(FileHungUp{static_cast<GuestId>(guest), side.files[lane % side.files.size()]});
        break;
      case 3:
        Frame(side, lane, wire::kFrameKindOpen, input);
        break;
      case 4:
        WellFormedIoctl(side, lane, input);
        break;
      default:
        Frame(side, lane, wire::kFrameKindIoctl, input);
        break;
    }
    Serve(guest, lane);
  }

  void Frame(GuestSide& side, uint32_t lane, wire::FrameKind kind, Input& input) {
    const auto body = input.Bytes(input.Byte());
    const auto payload = input.Bytes(wire::AlignUp8(input.Byte()));
    Publish(side, lane, kind, input.Byte(), {body.begin(), body.end()}, payload);
  }

  // A request whose layout fits a spec of the table, around arbitrary values.
  void WellFormedIoctl(GuestSide& side, uint32_t lane, Input& input) {
    const abi::Table& table = *abi::FindTable("535.261.03");
    const abi::Spec& escape = table.escapes[input.Byte() % table.escapes.size];
    IoctlRequest request;
    std::vector<uint8_t> payload;
    const auto add = [&](uint32_t size_bytes, uint32_t parent, uint32_t pointer_offset) {
      Segment* segment = request.add_segments();
      segment->set_size_bytes(size_bytes);
      segment->set_parent(parent);
      segment->set_pointer_offset(pointer_offset);
      const size_t at = payload.size();
      const auto bytes = input.Bytes(std::min<uint32_t>(size_bytes, 64));
      payload.insert(payload.end(), bytes.begin(), bytes.end());
      payload.resize(at + wire::AlignUp8(size_bytes));
      return at;
    };
    request.set_command(0xc0000000u | escape.size << 16 | 'F' << 8 | escape.number);
    add(escape.size, 0, 0);
    // A client the guest may well have.
    if (escape.clients.size != 0 && input.Byte() % 4 != 0) Poke(payload, 0, 0xc1d00000u + input.Byte() % 2);
    if (escape.shape == abi::Shape::kControl || escape.shape == abi::Shape::kAlloc) {
      const bool control = escape.shape == abi::Shape::kControl;
      const abi::SpecList& specs = control ? table.controls : table.classes;
      const abi::Spec& nested = specs[(input.Byte() | input.Byte() << 8) % specs.size];
      Poke(payload, control ? 8 : 12, nested.number);
      if (control) Poke(payload, 24, nested.size);
      if (control) Poke(payload, 12, 0);
      if (nested.size != 0 && payload.size() + nested.size < wire::kRingSizeBytes / 2) {
        const size_t params = add(nested.size, 0, 16);
        for (const abi::Pointer& pointer : nested.pointers) {
          if (pointer.direction == abi::Direction::kNull) continue;
          const uint32_t count = input.Byte() % 8;
          if (pointer.count_offset != abi::kNone) Poke(payload, params + pointer.count_offset, count);
          if (count != 0) add(count * pointer.element_size, 1, pointer.offset);
        }
      }
    }
    if (!side.files.empty() && escape.fds.size != 0) {
      FileReference* file = request.add_files();
      file->set_field_offset(escape.fds.data[0].offset);
      file->set_file_id(static_cast<uint32_t>(side.files[input.Byte() % side.files.size()]));
    }
    Publish(side, lane, wire::kFrameKindIoctl, input.Byte(), request.SerializeAsString(), payload);
  }

  static void Poke(std::vector<uint8_t>& bytes, size_t at, uint32_t value) {
    if (at + 4 <= bytes.size()) std::memcpy(bytes.data() + at, &value, 4);
  }

  void Publish(GuestSide& side, uint32_t lane, wire::FrameKind kind, uint8_t file, const std::string& body,
               const std::vector<uint8_t>& payload) {
    wire::FrameHeader header{};
    header.magic = wire::kFrameMagic;
    header.kind = kind;
    header.body_size_bytes = static_cast<uint16_t>(body.size());
    header.payload_size_bytes = static_cast<uint32_t>(payload.size());
    header.file_id = side.files.empty() ? file : static_cast<uint32_t>(side.files[file % side.files.size()]);
    wire::RingProducer& requests = side.requests[lane];
    const auto body_size_bytes = static_cast<uint32_t>(body.size());
    if (!requests.Begin(32 + wire::AlignUp8(body_size_bytes) + header.payload_size_bytes)) return;
    requests.Write(&header, sizeof(header));
    requests.Write(body.data(), body_size_bytes);
    requests.Pad();
    requests.Write(payload.data(), header.payload_size_bytes);
    requests.Publish();
  }

  void Serve(uint32_t guest, uint32_t lane) {
    GuestSide& side = sides_[guest];
    const CallToken token{static_cast<GuestId>(guest), static_cast<ProcessId>(kProcess), lane};
    for (;;) {
      const auto result = side.lanes[lane].Take(&frame_);
      if (result == ServerLane::Result::kEmpty) return;
      if (result == ServerLane::Result::kCorrupt) return Leave(guest);
      const uint64_t replies_before = replies_;
      OpenRequested open;
      if (frame_.header.kind == wire::kFrameKindOpen && codec_.DecodeOpen(frame_, token, &open))
        Step(open);
      else if (frame_.header.kind == wire::kFrameKindIoctl &&
               codec_.DecodeIoctl(frame_, token, side.region, &request_, &side.places[lane]))
        Step(std::move(request_));
      else
        return Leave(guest);
      if (replies_ != replies_before + 1) abort();
      if (side.gone) return;
    }
  }

  void Leave(uint32_t guest) {
    if (std::exchange(sides_[guest].gone, true)) return;
    Step(ProcessGone{static_cast<GuestId>(guest), static_cast<ProcessId>(kProcess)});
    for (FileId file : std::exchange(sides_[guest].files, {}))
      Step(FileHungUp{static_cast<GuestId>(guest), file});
  }

  void Step(Event event) {
    core_.Step(std::move(event), &actions_);
    if (stepping_) return;
    stepping_ = true;
    for (size_t i = 0; i < actions_.size(); ++i) {
      Action action = std::move(actions_[i]);
      std::visit([&](auto& one) { Do(one); }, action);
    }
    actions_.clear();
    stepping_ = false;
  }

  GuestSide& SideOf(const CallToken& token) { return sides_[static_cast<uint32_t>(token.guest)]; }

  void Do(DriverOpen& action) {
    const OpenResult result = driver_->Open(action.node, action.flags);
    opened_ += result.error == 0;
    Step(DriverOpened{action.token, result});
  }
  void Do(DriverIoctl& action) {
    const int error = driver_->Ioctl(action.file, action.call);
    Step(DriverReturned{action.token, error, std::move(action.call)});
  }
  void Do(DriverClose& action) {
    ++closed_;
    driver_->Close(action.file);
  }
  void Do(ReplyOpen& action) {
    ++replies_;
    if (action.error == 0) SideOf(action.token).files.push_back(action.file);
    codec_.Reply(SideOf(action.token).lanes[action.token.lane], action);
  }
  void Do(ReplyIoctl& action) {
    ++replies_;
    GuestSide& side = SideOf(action.token);
    if (action.mapping != 0) {
      const MapResult mapped = driver_->Map(action.mapping);
      if (mapped.error == 0) close(mapped.fd);
      ++closed_;
      driver_->Close(action.mapping);
    }
    codec_.Reply(side.lanes[action.token.lane], side.region, action, side.places[action.token.lane],
                 SentFile::kNone);
    request_.call_untrusted = std::move(action.call);
  }
  void Do(ClosePlaceholder& action) {
    std::erase(sides_[static_cast<uint32_t>(action.guest)].files, action.file);
  }
  void Do(SignalFile&) {}
  void Do(NoteRefusal&) {}

  std::unique_ptr<SimDriver> driver_;
  Core core_;
  FrameCodec codec_;
  GuestSide sides_[2];
  FrameCopy frame_;
  IoctlRequested request_;
  std::vector<Action> actions_;
  bool stepping_ = false;
  uint64_t replies_ = 0;
  uint64_t opened_ = 0;
  uint64_t closed_ = 0;
};

}  // namespace
}  // namespace nvshim::testing

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  nvshim::testing::Input input(data, size);
  nvshim::testing::World().Run(input);
  return 0;
}
