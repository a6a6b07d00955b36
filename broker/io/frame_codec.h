// Frames to events and actions to frames: decodes the body, gathers the segments' bytes from payload and data
// pool into one private buffer, and the way back. Checks the framing only: counts, lengths, that everything
// lies inside what was sent. What the bytes mean is the core's business. frame_codec_test holds it to
// libprotobuf's generated classes.
#ifndef BROKER_IO_FRAME_CODEC_H_
#define BROKER_IO_FRAME_CODEC_H_

#include <array>
#include <cstdint>

#include "broker/core/action.h"
#include "broker/core/event.h"
#include "broker/io/region.h"
#include "broker/io/server_lane.h"

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

// False when the body is no OpenRequest.
bool DecodeOpen(const FrameCopy& frame, CallToken token, OpenRequested* event);

// Takes the payload of `frame` out of `lane`. False when the body is no IoctlRequest, or names bytes that
// were not sent. `event->call_untrusted` is filled in place, so that its buffers are reused.
bool DecodeIoctl(const FrameCopy& frame, ServerLane& lane, CallToken token, const Region& region,
                 IoctlRequested* event, SegmentPlaces* places);

// Writes the reply. False when it cannot be delivered.
bool WriteReply(ServerLane& lane, const ReplyOpen& action);
bool WriteReply(ServerLane& lane, Region& region, const ReplyIoctl& action, const SegmentPlaces& places,
                SentFile sent);

}  // namespace nvshim::broker

#endif  // BROKER_IO_FRAME_CODEC_H_
