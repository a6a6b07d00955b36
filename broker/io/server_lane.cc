#include "broker/io/server_lane.h"

#include <utility>

namespace nvshim::broker {

ServerLane::Result ServerLane::Take(FrameCopy* frame) {
  const uint32_t available = requests_.Available();
  if (available == 0) return Result::kEmpty;
  wire::FrameHeader& header = frame->header;
  if (available == wire::RingConsumer::kCorrupt || !requests_.Read(&header, sizeof(header)))
    return Result::kCorrupt;
  if (header.magic != wire::kFrameMagic || header.reserved0 != 0 || header.reserved1 != 0)
    return Result::kCorrupt;
  if (header.body_size_bytes > wire::kBodySizeBytesMax || header.payload_size_bytes > wire::kRingSizeBytes)
    return Result::kCorrupt;
  const uint32_t body_size_bytes = wire::AlignUp8(header.body_size_bytes);
  if (!requests_.Read(frame->body.data(), body_size_bytes)) return Result::kCorrupt;
  // A frame is published whole: what the header promises is there, or the header lies.
  if (header.payload_size_bytes > available - sizeof(header) - body_size_bytes) return Result::kCorrupt;
  payload_left_ = header.payload_size_bytes;
  return Result::kFrame;
}

bool ServerLane::ReadPayload(uint8_t* to, uint32_t size_bytes) {
  const uint32_t padded = wire::AlignUp8(size_bytes);
  if (padded > payload_left_ || !requests_.Read(to, size_bytes)) return false;
  payload_left_ -= padded;
  return requests_.Skip(padded - size_bytes);
}

void ServerLane::Finish() {
  requests_.Skip(std::exchange(payload_left_, 0));
  requests_.Finish();
}

bool ServerLane::Put(wire::FrameHeader header, std::span<const uint8_t> body,
                     std::span<const std::span<const uint8_t>> payload) {
  uint32_t payload_size_bytes = 0;
  for (const auto& segment : payload)
    payload_size_bytes += wire::AlignUp8(static_cast<uint32_t>(segment.size()));
  header.magic = wire::kFrameMagic;
  header.body_size_bytes = static_cast<uint16_t>(body.size());
  header.payload_size_bytes = payload_size_bytes;
  const auto body_size_bytes = static_cast<uint32_t>(body.size());
  if (!responses_.Begin(sizeof(header) + wire::AlignUp8(body_size_bytes) + payload_size_bytes)) return false;
  responses_.Write(&header, sizeof(header));
  responses_.Write(body.data(), body_size_bytes);
  responses_.Pad();
  for (const auto& segment : payload) {
    responses_.Write(segment.data(), static_cast<uint32_t>(segment.size()));
    responses_.Pad();
  }
  responses_.Publish();
  return true;
}

}  // namespace nvshim::broker
