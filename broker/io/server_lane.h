// The broker's end of one lane: takes frames out as private copies, each byte read once, puts replies in. The
// guest may scribble over the rings meanwhile; it can only make a frame corrupt, which is the guest's end, or
// wrong, which is the core's to judge.
#ifndef BROKER_IO_SERVER_LANE_H_
#define BROKER_IO_SERVER_LANE_H_

#include <array>
#include <cstdint>
#include <span>

#include "broker/io/region.h"
#include "proto/wire/frame.h"

namespace nvshim::broker {

// A frame without its payload, copied. The header's lengths agree with what follows; nothing else has been
// looked at.
struct FrameCopy {
  wire::FrameHeader header;
  std::array<uint8_t, wire::AlignUp8(wire::kBodySizeBytesMax)> body;

  std::span<const uint8_t> Body() const { return {body.data(), header.body_size_bytes}; }
};

class ServerLane {
 public:
  ServerLane() = default;
  ServerLane(Region& region, uint32_t lane)
      : requests_(region.RequestsOf(lane)), responses_(region.ResponsesOf(lane)) {}

  enum class Result { kEmpty, kFrame, kCorrupt };

  // Takes the next frame, all but its payload. kCorrupt: cursors or header are not those of a guest that
  // follows the protocol.
  Result Take(FrameCopy* frame);

  // Copies the next bytes of the payload and passes over their padding. False when there are fewer.
  bool ReadPayload(uint8_t* to, uint32_t size_bytes);

  // After the last look at the frame: its room is the guest's again.
  void Finish();

  // Puts a reply in: a header (its lengths are filled in here), a body and the segments that lie in the
  // payload. False when the guest has not made room, which one that waits for its replies always has.
  bool Put(wire::FrameHeader header, std::span<const uint8_t> body,
           std::span<const std::span<const uint8_t>> payload);

 private:
  wire::RingConsumer requests_;
  uint32_t payload_left_ = 0;  // of the frame that was taken
  wire::RingProducer responses_;
};

}  // namespace nvshim::broker

#endif  // BROKER_IO_SERVER_LANE_H_
