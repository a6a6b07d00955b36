// What the parts of one small ioctl cost, each alone and with warm caches: nanoseconds of one thread that
// never waits. The sum is what the broker adds to a call; the rest of a round trip is cache lines that travel
// between two CPUs.
//   bazel run --config=opt //testing/bench:micro_bench
#include <benchmark/benchmark.h>
#include <sys/mman.h>

#include <array>
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

constexpr CallToken kToken{static_cast<GuestId>(1), static_cast<ProcessId>(1), 0};
constexpr uint32_t NV0000_CTRL_CMD_GPU_GET_MEMOP_ENABLE = 0x27b;
constexpr uint32_t kIoctlRmControl = 0xc020462a;
constexpr uint32_t kIoctlRmAlloc = 0xc020462b;

// Ring, codec, core and driver as a worker holds them, and the guest's end of the rings.
class Bench {
 public:
  Bench()
      : region_(*Region::Create()),
        base_(mmap(nullptr, wire::kRegionSizeBytes, PROT_READ | PROT_WRITE, MAP_SHARED, region_.memfd(), 0)),
        lane_(region_, 0),
        driver_(*CreateSimDriver({})),
        core_(abi::FindTable("535.261.03"), {0}) {
    wire::LaneHeader* header = wire::LaneOf(base_, 0);
    requests_ = {wire::RequestRingOf(base_, 0), wire::kRingSizeBytes, &header->request_tail,
                 &header->request_head};
    responses_ = {wire::ResponseRingOf(base_, 0), wire::kRingSizeBytes, &header->response_head,
                  &header->response_tail};
    core_.Step(GuestAdded{kToken.guest}, &actions_);
    core_.Step(ProcessAttached{kToken.guest, kToken.process}, &actions_);
    Step(OpenRequested{kToken, 0, static_cast<uint32_t>(broker::DeviceClass::kCtl), 0, 0});
    std::array<uint32_t, 8> nvos21{};
    Call(kIoctlRmAlloc, nvos21.data(), 32, nullptr, 0);
    client_ = Get<uint32_t>(reply_.Bytes(0), 8);
    MakeControl();
  }
  ~Bench() { munmap(base_, wire::kRegionSizeBytes); }

  void Push() {
    requests_.Begin(static_cast<uint32_t>(frame_bytes_.size()));
    requests_.Write(frame_bytes_.data(), static_cast<uint32_t>(frame_bytes_.size()));
    requests_.Publish();
  }
  void Take() { benchmark::DoNotOptimize(lane_.Take(&frame_)); }
  void Decode() {
    benchmark::DoNotOptimize(codec_.DecodeIoctl(frame_, kToken, region_, &request_, &places_));
  }
  void Judge() { Step(std::move(request_)); }
  void Reply() {
    codec_.Reply(lane_, region_, {kToken, 0, 0, true, std::move(reply_)}, places_, SentFile::kNone);
    request_.call_untrusted = std::move(reply_);
  }
  void Pop() {
    const uint32_t size_bytes = responses_.Available();
    std::array<char, 4096> bytes;
    responses_.Read(bytes.data(), size_bytes);
    responses_.Finish();
  }
  void WholeCall() {
    Push();
    Take();
    Decode();
    Judge();
    codec_.Reply(lane_, region_, {kToken, 0, 0, true, reply_}, places_, SentFile::kNone);
    request_.call_untrusted = std::move(reply_);
    Pop();
  }

 private:
  void MakeControl() {
    std::array<uint32_t, 8> nvos54 = {client_, client_, NV0000_CTRL_CMD_GPU_GET_MEMOP_ENABLE, 0, 0, 0, 4, 0};
    IoctlRequest request;
    request.set_command(kIoctlRmControl);
    request.add_segments()->set_size_bytes(32);
    Segment* params = request.add_segments();
    params->set_size_bytes(4);
    params->set_pointer_offset(16);
    const std::string body = request.SerializeAsString();
    wire::FrameHeader header{};
    header.magic = wire::kFrameMagic;
    header.kind = wire::kFrameKindIoctl;
    header.body_size_bytes = static_cast<uint16_t>(body.size());
    header.payload_size_bytes = 40;
    header.file_id = static_cast<uint32_t>(file_);
    frame_bytes_.resize(sizeof(header));
    std::memcpy(frame_bytes_.data(), &header, sizeof(header));
    frame_bytes_.insert(frame_bytes_.end(), body.begin(), body.end());
    frame_bytes_.resize(wire::AlignUp8(static_cast<uint32_t>(frame_bytes_.size())));
    const auto* bytes = reinterpret_cast<const uint8_t*>(nvos54.data());
    frame_bytes_.insert(frame_bytes_.end(), bytes, bytes + 32);
    frame_bytes_.resize(frame_bytes_.size() + 8);
  }
  void Call(uint32_t command, const void* top, uint32_t top_size_bytes, const void*, uint32_t) {
    IoctlRequested event;
    event.token = kToken;
    event.file_id_untrusted = static_cast<uint32_t>(file_);
    event.call_untrusted.command = command;
    event.call_untrusted.buffer.assign(static_cast<const uint8_t*>(top),
                                       static_cast<const uint8_t*>(top) + top_size_bytes);
    event.call_untrusted.segments = {{0, top_size_bytes, 0, 0}};
    Step(std::move(event));
  }
  void Step(Event event) {
    core_.Step(std::move(event), &actions_);
    for (size_t i = 0; i < actions_.size(); ++i) {
      Action action = std::move(actions_[i]);
      if (auto* open = std::get_if<DriverOpen>(&action))
        core_.Step(DriverOpened{kToken, driver_->Open(open->node, open->flags)}, &actions_);
      if (auto* call = std::get_if<DriverIoctl>(&action)) {
        const int error = driver_->Ioctl(call->file, call->call);
        core_.Step(DriverReturned{kToken, error, std::move(call->call)}, &actions_);
      }
      if (auto* reply = std::get_if<ReplyOpen>(&action)) file_ = reply->file;
      if (auto* reply = std::get_if<ReplyIoctl>(&action)) reply_ = std::move(reply->call);
    }
    actions_.clear();
  }

  Region region_;
  void* base_;
  ServerLane lane_;
  wire::RingProducer requests_;
  wire::RingConsumer responses_;
  FrameCodec codec_;
  std::unique_ptr<SimDriver> driver_;
  Core core_;
  std::vector<Action> actions_;
  std::vector<uint8_t> frame_bytes_;
  FrameCopy frame_;
  SegmentPlaces places_;
  IoctlRequested request_;
  DriverCall reply_;
  FileId file_ = FileId::kNone;
  uint32_t client_ = 0;
};

void BM_WholeCall(benchmark::State& state) {
  Bench bench;
  for (auto _ : state) bench.WholeCall();
}
BENCHMARK(BM_WholeCall);

void BM_RingPushTake(benchmark::State& state) {
  Bench bench;
  for (auto _ : state) {
    bench.Push();
    bench.Take();
  }
}
BENCHMARK(BM_RingPushTake);

void BM_Decode(benchmark::State& state) {
  Bench bench;
  bench.Push();
  bench.Take();
  for (auto _ : state) bench.Decode();
}
BENCHMARK(BM_Decode);

void BM_DecodeAndJudge(benchmark::State& state) {
  Bench bench;
  bench.Push();
  bench.Take();
  for (auto _ : state) {
    bench.Decode();
    bench.Judge();
  }
}
BENCHMARK(BM_DecodeAndJudge);

}  // namespace
}  // namespace nvshim::testing

BENCHMARK_MAIN();
