// The broker's end of one lane: takes whole frames out as private copies, puts replies in. The guest may
// scribble over the rings meanwhile; it can only make a frame corrupt, which is the guest's end, or wrong,
// which is the core's to judge.
#ifndef BROKER_IO_SERVER_LANE_H_
#define BROKER_IO_SERVER_LANE_H_

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "broker/io/region.h"
#include "proto/wire/frame.h"

namespace nvshim::broker {

// A frame, copied. The header's lengths agree with what follows; nothing else has been looked at.
struct FrameCopy {
  wire::FrameHeader header;
  std::array<char, wire::AlignUp8(wire::kBodySizeBytesMax)> body;
  std::vector<uint8_t> payload;  // keeps its capacity from frame to frame

  std::span<const char> Body() const { return {body.data(), header.body_size_bytes}; }
};

class ServerLane {
 public:
  ServerLane() = default;
  ServerLane(Region& region, uint32_t lane)
      : requests_(region.RequestsOf(lane)), responses_(region.ResponsesOf(lane)) {}

  enum class Result { kEmpty, kFrame, kCorrupt };

  // Takes the next frame. kCorrupt: cursors or header are not those of a guest that follows the protocol.
  Result Take(FrameCopy* frame);

  // Puts a reply in: a header (its lengths are filled in here), a body and the segments that lie in the
  // payload. False when the guest has not made room, which one that waits for its replies always has.
  bool Put(wire::FrameHeader header, std::span<const char> body,
           std::span<const std::span<const uint8_t>> payload);

 private:
  wire::RingConsumer requests_;
  wire::RingProducer responses_;
};

}  // namespace nvshim::broker

#endif  // BROKER_IO_SERVER_LANE_H_
