#include "testing/bench/one_call.h"

#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <cstring>
#include <utility>

#include "broker/io/uid_sheet.h"
#include "proto/abi/spec.h"
#include "proto/frame.pb.h"
#include "testing/bench/bench.h"

namespace nvshim::bench {
namespace {

using namespace nvshim::broker;  // the subject

// The shim takes the first lane that is free; the guest without it has another.
constexpr uint32_t kShimLane = 0;
constexpr uint32_t kLane = 1;
constexpr CallToken kToken{static_cast<GuestId>(1), static_cast<ProcessId>(1), kLane};
constexpr char kDriverVersion[] = "535.261.03";
constexpr uint32_t NV0000_CTRL_CMD_GPU_GET_MEMOP_ENABLE = 0x27b;
constexpr uint32_t kIoctlRmControl = 0xc020462a;
constexpr uint32_t kIoctlRmAlloc = 0xc020462b;
constexpr uint32_t kFirstClient = 0xc1d00001;  // as RM numbers them

}  // namespace

OpenResult QuietDriver::Open(DeviceNode, uint32_t) { return {0, 1}; }

int QuietDriver::Ioctl(DriverFileId, DriverCall& call) {
  if (call.command == kIoctlRmAlloc) std::memcpy(&call.Bytes(0)[8], &kFirstClient, sizeof(kFirstClient));
  return 0;
}

OneCall::OneCall(std::unique_ptr<Driver> driver)
    : region_(*Region::Create()),
      base_(mmap(nullptr, wire::kRegionSizeBytes, PROT_READ | PROT_WRITE, MAP_SHARED, region_.memfd(), 0)),
      lane_(region_, kLane),
      shim_lane_(region_, kShimLane),
      driver_(std::move(driver)),
      core_(abi::FindTable(kDriverVersion), {0}),
      session_(std::make_unique<preload::Session>()) {
  if (base_ == MAP_FAILED) Die("mmap");
  wire::LaneHeader* header = wire::LaneOf(base_, kLane);
  requests_ = {wire::RequestRingOf(base_, kLane), wire::kRingSizeBytes, &header->request_tail,
               &header->request_head};
  responses_ = {wire::ResponseRingOf(base_, kLane), wire::kRingSizeBytes, &header->response_head,
                &header->response_tail};
  core_.Step(GuestAdded{kToken.guest}, &actions_);
  // As a worker has it: with a sheet, and without limits of the user's.
  const auto sheet = *UidSheet::Create();
  core_.Step(UidAdded{kToken.guest, 0, std::make_shared<UidRow>(sheet, 0, NoLimits())}, &actions_);
  core_.Step(ProcessAttached{kToken.guest, kToken.process}, &actions_);
  Step(OpenRequested{kToken, 0, static_cast<uint32_t>(broker::DeviceClass::kCtl), 0, 0});
  NewClient();
  MakeFrame();

  int channel[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, channel) != 0) Die("socketpair");
  session_->table = abi::FindTable(kDriverVersion);
  session_->region = base_;
  session_->channel.Open(channel[0], eventfd(0, EFD_CLOEXEC));
  session_->lanes.Open(base_, &session_->channel, /*may_spin=*/true);
  nvos54_ = {client_, client_, NV0000_CTRL_CMD_GPU_GET_MEMOP_ENABLE, 0, 0, 0, sizeof(enabled_), 0};
  const auto params = reinterpret_cast<uint64_t>(&enabled_);
  std::memcpy(&nvos54_[4], &params, sizeof(params));

  Push();
  Take();
  Judge();  // an answer for the shim's first call
}

OneCall::~OneCall() { munmap(base_, wire::kRegionSizeBytes); }

void OneCall::Push() {
  requests_.Begin(static_cast<uint32_t>(frame_bytes_.size()));
  requests_.Write(frame_bytes_.data(), static_cast<uint32_t>(frame_bytes_.size()));
  requests_.Publish();
}

void OneCall::Take() { TakeFrom(lane_); }

void OneCall::TakeFrom(ServerLane& lane) {
  if (lane.Take(&frame_) != ServerLane::Result::kFrame) Die("no frame");
  if (!DecodeIoctl(frame_, lane, kToken, region_, &request_, &places_)) Die("a frame is not understood");
  lane.Finish();
}

void OneCall::Judge() { Step(std::move(request_)); }

void OneCall::Reply() {
  ReplyIoctl action{kToken, 0, 0, true, std::move(reply_)};
  if (!WriteReply(lane_, region_, action, places_, SentFile::kNone)) Die("no reply");
  reply_ = std::move(action.call);
}

void OneCall::Pop() {
  const uint32_t size_bytes = responses_.Available();
  std::array<char, 4096> bytes;
  responses_.Read(bytes.data(), size_bytes);
  responses_.Finish();
}

void OneCall::PutAnswer() {
  ReplyIoctl action{kToken, ++answered_, 0, true, std::move(reply_)};
  if (!WriteReply(shim_lane_, region_, action, places_, SentFile::kNone)) Die("no reply");
  request_.call_untrusted = std::move(action.call);  // the buffers, for the next frame
}

void OneCall::ShimGather() {
  if (preload::Gather(*session_->table, preload::DeviceClass::kCtl, kIoctlRmControl, nvos54_.data(),
                      &gathered_) != 0)
    Die("Gather");
}

void OneCall::ShimCall() {
  ShimGather();
  const auto outcome = preload::CallIoctl(*session_, static_cast<uint32_t>(file_), gathered_, {});
  if (outcome.error != 0 || nvos54_[7] != 0) Die("CallIoctl");
}

void OneCall::TakeFromShim() { TakeFrom(shim_lane_); }

void OneCall::Restore() { request_.call_untrusted = reply_; }

// A client of NV01_ROOT.
void OneCall::NewClient() {
  IoctlRequested event;
  event.token = kToken;
  event.file_id_untrusted = static_cast<uint32_t>(file_);
  event.call_untrusted.command = kIoctlRmAlloc;
  event.call_untrusted.buffer.resize(32);
  event.call_untrusted.segments = {{0, 32, 0, 0}};
  Step(std::move(event));
  std::memcpy(&client_, &reply_.Bytes(0)[8], sizeof(client_));
}

void OneCall::MakeFrame() {
  const std::array<uint32_t, 8> nvos54 = {client_, client_, NV0000_CTRL_CMD_GPU_GET_MEMOP_ENABLE, 0, 0, 0,
                                          4,       0};
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

void OneCall::Step(Event event) {
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

}  // namespace nvshim::bench
