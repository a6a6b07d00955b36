#include "testing/sim_world/guest_region.h"

#include <sys/mman.h>

#include <cstdlib>

namespace nvshim::testing {
namespace {

uint8_t* Map(int memfd) {
  void* base = mmap(nullptr, wire::kRegionSizeBytes, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
  if (base == MAP_FAILED) abort();
  return static_cast<uint8_t*>(base);
}

}  // namespace

GuestRegion::GuestRegion(int memfd) : base_(Map(memfd)) {
  for (uint32_t i = 0; i < kLanes; ++i) {
    wire::LaneHeader* lane = wire::LaneOf(base_, i);
    requests_[i] = wire::RingProducer(wire::RequestRingOf(base_, i), wire::kRingSizeBytes,
                                      &lane->request_tail, &lane->request_head);
    responses_[i] = wire::RingConsumer(wire::ResponseRingOf(base_, i), wire::kRingSizeBytes,
                                       &lane->response_head, &lane->response_tail);
  }
}

GuestRegion::~GuestRegion() { munmap(base_, wire::kRegionSizeBytes); }

bool GuestRegion::Publish(uint32_t lane, wire::FrameHeader header, const std::string& body,
                          std::span<const uint8_t> payload) {
  header.magic = wire::kFrameMagic;
  header.body_size_bytes = static_cast<uint16_t>(body.size());
  header.payload_size_bytes = wire::AlignUp8(static_cast<uint32_t>(payload.size()));
  wire::RingProducer& requests = requests_[lane];
  const auto body_size_bytes = static_cast<uint32_t>(body.size());
  if (!requests.Begin(32 + wire::AlignUp8(body_size_bytes) + header.payload_size_bytes)) return false;
  requests.Write(&header, sizeof(header));
  requests.Write(body.data(), body_size_bytes);
  requests.Pad();
  requests.Write(payload.data(), static_cast<uint32_t>(payload.size()));
  requests.Pad();
  requests.Publish();
  wire::HeaderOf(base_)->lanes_pending.fetch_or(uint64_t{1} << lane);
  return true;
}

std::optional<GuestRegion::Reply> GuestRegion::TakeReply(uint32_t lane) {
  wire::RingConsumer& responses = responses_[lane];
  const uint32_t available = responses.Available();
  Reply reply;
  if (available == wire::RingConsumer::kCorrupt || !responses.Read(&reply.header, sizeof(reply.header)))
    return std::nullopt;
  if (uint64_t{wire::AlignUp8(reply.header.body_size_bytes)} + reply.header.payload_size_bytes >
      available - sizeof(reply.header))
    return std::nullopt;
  reply.body.resize(wire::AlignUp8(reply.header.body_size_bytes));
  responses.Read(reply.body.data(), static_cast<uint32_t>(reply.body.size()));
  reply.body.resize(reply.header.body_size_bytes);
  reply.payload.resize(reply.header.payload_size_bytes);
  responses.Read(reply.payload.data(), reply.header.payload_size_bytes);
  responses.Finish();
  return reply;
}

}  // namespace nvshim::testing
