#include "preload/call.h"

#include <errno.h>

namespace nvshim::preload {

namespace {

// A frame takes at most half a ring, so that a request and the reply to the one before never wait for each
// other's room. More goes through the pool.
constexpr uint32_t kInlineSizeBytesMax =
    wire::kRingSizeBytes / 2 - sizeof(wire::FrameHeader) - wire::kBodySizeBytesMax;

// The worker's errno as a program may see it.
int ErrnoOf(int32_t error) { return error >= 0 && error < 4096 ? error : EIO; }

// Where the bytes of each buffer lie: in the payload, or in one run of the pool that is given back at the
// end.
class Placement {
 public:
  Placement(Pool& pool, const GatheredCall& call) : pool_(pool) {
    for (uint32_t i = 0; i < call.buffer_count; ++i) {
      const GuestBuffer& buffer = call.buffers[i];
      segments_[i] = {buffer.size_bytes, buffer.parent, buffer.pointer_offset, 0};
      const uint32_t padded = wire::AlignUp8(buffer.size_bytes);
      if (payload_size_bytes_ + padded <= kInlineSizeBytesMax) {
        payload_size_bytes_ += padded;
      } else {
        segments_[i].pool_offset_plus_one = pool_size_bytes_ + 1;
        pool_size_bytes_ += padded;  // at most 8 buffers of 1 MiB
      }
    }
    count_ = call.buffer_count;
  }
  // Also after a call that was given up, and that the worker may still be writing the answer of: no answer is
  // read any more in a session that is lost.
  ~Placement() {
    if (pool_offset_ != Pool::kNoRoom) pool_.Free(pool_offset_, pool_size_bytes_);
  }
  Placement(const Placement&) = delete;
  Placement& operator=(const Placement&) = delete;

  // Takes the run of the pool, if one is needed. False when there is no room.
  bool Reserve() {
    if (pool_size_bytes_ == 0) return true;
    pool_offset_ = pool_.Allocate(pool_size_bytes_);
    if (pool_offset_ == Pool::kNoRoom) return false;
    for (uint32_t i = 0; i < count_; ++i)
      if (InPool(i)) segments_[i].pool_offset_plus_one += pool_offset_;
    return true;
  }

  bool InPool(uint32_t i) const { return segments_[i].pool_offset_plus_one != 0; }
  uint32_t PoolOffset(uint32_t i) const { return segments_[i].pool_offset_plus_one - 1; }
  std::span<const SegmentMessage> segments() const { return {segments_, count_}; }
  uint32_t payload_size_bytes() const { return payload_size_bytes_; }

 private:
  Pool& pool_;
  uint32_t count_ = 0;
  SegmentMessage segments_[wire::kSegmentsPerCallMax];
  uint32_t payload_size_bytes_ = 0;
  uint32_t pool_size_bytes_ = 0;
  uint32_t pool_offset_ = Pool::kNoRoom;
};

void WriteSegments(LaneCall& lane, void* region, const GatheredCall& call, const Placement& placement) {
  for (uint32_t i = 0; i < call.buffer_count; ++i) {
    const GuestBuffer& buffer = call.buffers[i];
    if (placement.InPool(i)) {
      wire::CopyToShared(wire::PoolOf(region) + placement.PoolOffset(i), buffer.address, buffer.size_bytes);
    } else {
      lane.Write(buffer.address, buffer.size_bytes);
    }
  }
}

bool ScatterFromPool(const uint8_t* from, const GatheredCall& call, uint32_t index) {
  uint32_t at = 0;
  return Scatter(
      call, index,
      [&](void* to, uint32_t size_bytes) {
        wire::CopyFromShared(to, from + at, size_bytes);
        at += size_bytes;
        return true;
      },
      [&](uint32_t size_bytes) {
        at += size_bytes;
        return true;
      });
}

bool ScatterFromLane(LaneCall& lane, const GatheredCall& call, uint32_t index) {
  const uint32_t size_bytes = call.buffers[index].size_bytes;
  return Scatter(
             call, index, [&](void* to, uint32_t size_bytes) { return lane.Read(to, size_bytes); },
             [&](uint32_t size_bytes) { return lane.Skip(size_bytes); }) &&
         lane.Skip(wire::AlignUp8(size_bytes) - size_bytes);
}

// Copies the answer out. False when its bytes do not add up.
bool ReadSegments(LaneCall& lane, void* region, const GatheredCall& call, const Placement& placement) {
  if (lane.payload_left() != placement.payload_size_bytes()) return false;
  for (uint32_t i = 0; i < call.buffer_count; ++i) {
    const bool read = placement.InPool(i)
                          ? ScatterFromPool(wire::PoolOf(region) + placement.PoolOffset(i), call, i)
                          : ScatterFromLane(lane, call, i);
    if (!read) return false;
  }
  return true;
}

// The process cannot go on with a worker that answers another question than the one asked.
IoctlOutcome Nonsense(Session& session) {
  session.channel.MarkLost();
  return {.error = EIO};
}

IoctlOutcome ReadReply(Session& session, LaneCall& lane, const GatheredCall& call, const Placement& placement,
                       Bytes body) {
  IoctlReply reply;
  if (!DecodeIoctlReply(body, &reply)) return Nonsense(session);
  IoctlOutcome outcome = {.error = ErrnoOf(reply.error),
                          .replace_segment = reply.replace_segment,
                          .replace_field_offset = reply.replace_field_offset,
                          .doorbell = reply.doorbell};
  if (reply.fds != 0) outcome.received_fd = lane.TakeFd();
  // A descriptor that did not arrive: this process is at its limit of them, and the kernel dropped it.
  outcome.fd_lost = reply.fds != 0 && outcome.received_fd < 0 && reply.error == 0;
  if (outcome.fd_lost) outcome.error = EMFILE;
  const bool may_be_empty = reply.error != 0 || call.buffer_count == 0;
  if (reply.copied_out ? ReadSegments(lane, session.region, call, placement) : may_be_empty) return outcome;
  if (outcome.received_fd >= 0) CloseFd(outcome.received_fd);
  return Nonsense(session);
}

}  // namespace

IoctlOutcome CallIoctl(Session& session, uint32_t file_id, const GatheredCall& call,
                       std::span<const FileReference> files) {
  Placement placement(session.pool, call);
  if (!placement.Reserve()) return {.error = ENOMEM};
  uint8_t body[wire::kBodySizeBytesMax];
  const size_t body_size_bytes = EncodeIoctlRequest(body, {call.command, placement.segments(), files});
  LaneCall lane(session.lanes);
  if (!lane.Begin(wire::kFrameKindIoctl, file_id, {body, body_size_bytes}, placement.payload_size_bytes()))
    return {.error = EIO};
  WriteSegments(lane, session.region, call, placement);
  size_t reply_size_bytes = 0;
  if (!lane.Exchange(wire::kFrameKindIoctlReply, body, &reply_size_bytes)) return {.error = EIO};
  return ReadReply(session, lane, call, placement, {body, reply_size_bytes});
}

OpenOutcome CallOpen(Session& session, const OpenRequest& request) {
  uint8_t body[wire::kBodySizeBytesMax];
  const size_t body_size_bytes = EncodeOpenRequest(body, request);
  LaneCall lane(session.lanes);
  size_t reply_size_bytes = 0;
  if (!lane.Begin(wire::kFrameKindOpen, 0, {body, body_size_bytes}, 0) ||
      !lane.Exchange(wire::kFrameKindOpenReply, body, &reply_size_bytes)) {
    return {.error = ENODEV};
  }
  OpenReply reply;
  if (!DecodeOpenReply({body, reply_size_bytes}, &reply)) {
    session.channel.MarkLost();
    return {.error = ENODEV};
  }
  const int fd = reply.fds != 0 ? lane.TakeFd() : -1;
  if (reply.error == 0 && fd >= 0) return {.fd = fd, .file_id = reply.file_id};
  if (fd >= 0) CloseFd(fd);
  // As in ReadReply: the placeholder found no free descriptor.
  return {.error = reply.error != 0 ? ErrnoOf(reply.error) : EMFILE};
}

}  // namespace nvshim::preload
