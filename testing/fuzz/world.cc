#include "testing/fuzz/world.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <utility>

#include "proto/abi/spec.h"

namespace nvshim::testing {

using namespace nvshim::broker;  // the subject

namespace {

constexpr uint32_t kProcess = 1;

}  // namespace

GuestSide::GuestSide() : region(*Region::Create()) {
  base = static_cast<uint8_t*>(
      mmap(nullptr, wire::kRegionSizeBytes, PROT_READ | PROT_WRITE, MAP_SHARED, region.memfd(), 0));
  for (uint32_t i = 0; i < kFuzzedLanes; ++i) {
    lanes[i] = ServerLane(region, i);
    wire::LaneHeader* lane = wire::LaneOf(base, i);
    requests[i] = wire::RingProducer(wire::RequestRingOf(base, i), wire::kRingSizeBytes, &lane->request_tail,
                                     &lane->request_head);
  }
}

GuestSide::~GuestSide() { munmap(base, wire::kRegionSizeBytes); }

World::World() : driver_(*CreateSimDriver({})), core_(abi::FindTable("535.261.03"), {0}) {
  for (uint32_t i = 0; i < kFuzzedGuests; ++i) {
    Step(GuestAdded{static_cast<GuestId>(i)});
    Step(ProcessAttached{static_cast<GuestId>(i), static_cast<ProcessId>(kProcess)});
  }
}

World::~World() {
  for (uint32_t i = 0; i < kFuzzedGuests; ++i) Leave(i);
  for (uint32_t i = 0; i < kFuzzedGuests; ++i) {
    const GuestStatisticsView held = core_.Statistics(static_cast<GuestId>(i));
    if (held.processes + held.files + held.clients + held.objects + held.memory_bytes != 0) abort();
  }
  if (opened_ != closed_) abort();
}

void World::HangUp(uint32_t guest, FileId file) { Step(FileHungUp{static_cast<GuestId>(guest), file}); }

void World::Publish(uint32_t guest, uint32_t lane, wire::FrameKind kind, uint8_t file,
                    const std::string& body, const std::vector<uint8_t>& payload) {
  GuestSide& side = sides_[guest];
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

void World::Serve(uint32_t guest, uint32_t lane) {
  GuestSide& side = sides_[guest];
  const CallToken token{static_cast<GuestId>(guest), static_cast<ProcessId>(kProcess), lane};
  while (!side.gone) {
    const auto result = side.lanes[lane].Take(&frame_);
    if (result == ServerLane::Result::kEmpty) return;
    if (result == ServerLane::Result::kCorrupt) return Leave(guest);
    const uint64_t replies_before = replies_;
    OpenRequested open;
    const bool is_open = frame_.header.kind == wire::kFrameKindOpen;
    if (!(is_open ? broker::DecodeOpen(frame_, token, &open)
                  : frame_.header.kind == wire::kFrameKindIoctl &&
                        broker::DecodeIoctl(frame_, side.lanes[lane], token, side.region, &request_,
                                            &side.places[lane])))
      return Leave(guest);
    side.lanes[lane].Finish();
    is_open ? Step(open) : Step(std::move(request_));
    if (replies_ != replies_before + 1) abort();
    if (side.broken) return Leave(guest);
  }
}

void World::Leave(uint32_t guest) {
  if (std::exchange(sides_[guest].gone, true)) return;
  Step(ProcessGone{static_cast<GuestId>(guest), static_cast<ProcessId>(kProcess)});
  for (FileId file : std::exchange(sides_[guest].files, {}))
    Step(FileHungUp{static_cast<GuestId>(guest), file});
}

void World::Step(Event event) {
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

void World::Do(DriverOpen& action) {
  const OpenResult result = driver_->Open(action.node, action.flags);
  opened_ += result.error == 0;
  Step(DriverOpened{action.token, result});
}
void World::Do(DriverIoctl& action) {
  const int error = driver_->Ioctl(action.file, action.call);
  Step(DriverReturned{action.token, error, std::move(action.call)});
}
void World::Do(DriverClose& action) {
  ++closed_;
  driver_->Close(action.file);
}
void World::Do(ReplyOpen& action) {
  ++replies_;
  GuestSide& side = SideOf(action.token);
  if (action.error == 0) side.files.push_back(action.file);
  if (!broker::WriteReply(side.lanes[action.token.lane], action)) side.broken = true;
}
void World::Do(ReplyIoctl& action) {
  ++replies_;
  GuestSide& side = SideOf(action.token);
  if (action.mapping != 0) {
    const MapResult mapped = driver_->Map(action.mapping);
    if (mapped.error == 0) close(mapped.fd);
    ++closed_;
    driver_->Close(action.mapping);
  }
  if (!broker::WriteReply(side.lanes[action.token.lane], side.region, action, side.places[action.token.lane],
                          SentFile::kNone))
    side.broken = true;
  request_.call_untrusted = std::move(action.call);
}
void World::Do(ClosePlaceholder& action) {
  std::erase(sides_[static_cast<uint32_t>(action.guest)].files, action.file);
}

}  // namespace nvshim::testing
