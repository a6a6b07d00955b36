// Frames to events and actions to frames: decodes the protobuf body, gathers the segments' bytes from payload
// and data pool into one private buffer, and the way back. Checks the framing only: counts, lengths, that
// everything lies inside what was sent. What the bytes mean is the core's business.
#ifndef BROKER_IO_FRAME_CODEC_H_
#define BROKER_IO_FRAME_CODEC_H_

#include <array>
#include <cstdint>

#include "broker/core/action.h"
#include "broker/core/event.h"
#include "broker/io/region.h"
#include "broker/io/server_lane.h"
#include "proto/frame.pb.h"

namespace nvshim::broker {

// Where the segments of a lane's call came from, so that the reply goes to the same places.
struct SegmentPlaces {
  // Offset in the data pool plus one, 0 for the payload; by segment.
  std::array<uint32_t, wire::kSegmentsPerCallMax> pool_offset_plus_one{};
};

// What one call may carry in all: a full pool and a full ring.
inline constexpr uint32_t kCallBytesMax = wire::kPoolSizeBytes + wire::kRingSizeBytes;

// What went over the channel ahead of a reply.
enum class SentFile : uint8_t { kNone, kFile, kDoorbell };

class FrameCodec {
 public:
  // False when the body is no OpenRequest.
  bool DecodeOpen(const FrameCopy& frame, CallToken token, OpenRequested* event);

  // False when the body is no IoctlRequest, or names bytes that were not sent. `event->call_untrusted` is
  // filled in place, so that its buffers are reused.
  bool DecodeIoctl(const FrameCopy& frame, CallToken token, const Region& region, IoctlRequested* event,
                   SegmentPlaces* places);

  // Writes the reply. False when it cannot be delivered.
  bool Reply(ServerLane& lane, const ReplyOpen& action);
  bool Reply(ServerLane& lane, Region& region, const ReplyIoctl& action, const SegmentPlaces& places,
             SentFile sent);

 private:
  // Reused: parsing and serialising allocate nothing once warm.
  OpenRequest open_request_;
  IoctlRequest ioctl_request_;
  IoctlReply ioctl_reply_;
};

}  // namespace nvshim::broker

#endif  // BROKER_IO_FRAME_CODEC_H_
