#include "broker/io/frame_codec.h"

#include <cstring>

namespace nvshim::broker {
namespace {

// Sum of the 8-aligned segments, or kCallBytesMax + 1 when the list is not acceptable.
uint32_t BufferSizeOf(const IoctlRequest& request) {
  constexpr uint32_t kTooLarge = kCallBytesMax + 1;
  if (request.segments_size() > static_cast<int>(wire::kSegmentsPerCallMax) ||
      request.files_size() > static_cast<int>(wire::kFilesPerCallMax))
    return kTooLarge;
  uint64_t size_bytes = 0;
  for (int i = 0; i < request.segments_size(); ++i) {
    const Segment& segment = request.segments(i);
    if (segment.size_bytes() > wire::kSegmentSizeBytesMax) return kTooLarge;
    if (i != 0 && (segment.parent() >= static_cast<uint32_t>(i) || segment.size_bytes() == 0))
      return kTooLarge;
    size_bytes += wire::AlignUp8(segment.size_bytes());
  }
  return size_bytes > kCallBytesMax ? kTooLarge : static_cast<uint32_t>(size_bytes);
}

bool PointerIsInsideParent(const IoctlRequest& request, const Segment& segment) {
  return uint64_t{segment.pointer_offset()} + 8 <=
         request.segments(static_cast<int>(segment.parent())).size_bytes();
}

template <typename Message>
std::span<const char> Serialize(const Message& message, std::array<char, wire::kBodySizeBytesMax>& bytes) {
  const size_t size_bytes = message.ByteSizeLong();
  if (size_bytes > bytes.size()) return {};
  message.SerializeToArray(bytes.data(), static_cast<int>(bytes.size()));
  return {bytes.data(), size_bytes};
}

wire::FrameHeader HeaderOf(wire::FrameKind kind, uint32_t sequence, FileId file) {
  wire::FrameHeader header{};
  header.kind = kind;
  header.sequence = sequence;
  header.file_id = static_cast<uint32_t>(file);
  return header;
}

}  // namespace

bool FrameCodec::DecodeOpen(const FrameCopy& frame, CallToken token, OpenRequested* event) {
  const auto body = frame.Body();
  if (!open_request_.ParseFromArray(body.data(), static_cast<int>(body.size()))) return false;
  *event = {token, frame.header.sequence, static_cast<uint32_t>(open_request_.device_class()),
            open_request_.minor(), open_request_.open_flags()};
  return true;
}

bool FrameCodec::DecodeIoctl(const FrameCopy& frame, CallToken token, const Region& region,
                             IoctlRequested* event, SegmentPlaces* places) {
  const auto body = frame.Body();
  if (!ioctl_request_.ParseFromArray(body.data(), static_cast<int>(body.size()))) return false;
  const uint32_t buffer_size_bytes = BufferSizeOf(ioctl_request_);
  if (buffer_size_bytes > kCallBytesMax) return false;
  event->token = token;
  event->sequence = frame.header.sequence;
  event->file_id_untrusted = frame.header.file_id;
  DriverCall& call = event->call_untrusted;
  call.command = ioctl_request_.command();
  call.buffer.assign(buffer_size_bytes, 0);
  call.segments.clear();
  call.files.clear();
  uint32_t at = 0;
  uint32_t payload_at = 0;
  for (const Segment& segment : ioctl_request_.segments()) {
    const size_t index = call.segments.size();
    if (index != 0 && !PointerIsInsideParent(ioctl_request_, segment)) return false;
    const uint32_t size_bytes = segment.size_bytes();
    places->pool_offset_plus_one[index] = segment.pool_offset_plus_one();
    if (segment.pool_offset_plus_one() != 0) {
      if (!region.CopyFromPool(call.buffer.data() + at, segment.pool_offset_plus_one() - 1, size_bytes))
        return false;
    } else {
      if (uint64_t{payload_at} + size_bytes > frame.payload.size()) return false;
      std::memcpy(call.buffer.data() + at, frame.payload.data() + payload_at, size_bytes);
      payload_at += wire::AlignUp8(size_bytes);
    }
    call.segments.push_back({at, size_bytes, segment.parent(), segment.pointer_offset()});
    at += wire::AlignUp8(size_bytes);
  }
  event->files_untrusted.clear();
  for (const FileReference& file : ioctl_request_.files())
    event->files_untrusted.push_back({file.segment(), file.field_offset(), file.file_id()});
  return true;
}

bool FrameCodec::Reply(ServerLane& lane, const ReplyOpen& action) {
  OpenReply reply;
  reply.set_error(action.error);
  reply.set_file_id(static_cast<uint32_t>(action.file));
  reply.set_fds(action.error == 0 ? 1 : 0);
  std::array<char, wire::kBodySizeBytesMax> bytes;
  return lane.Put(HeaderOf(wire::kFrameKindOpenReply, action.sequence, action.file), Serialize(reply, bytes),
                  {});
}

bool FrameCodec::Reply(ServerLane& lane, Region& region, const ReplyIoctl& action,
                       const SegmentPlaces& places, SentFile sent) {
  ioctl_reply_.Clear();
  ioctl_reply_.set_error(action.error);
  std::array<std::span<const uint8_t>, wire::kSegmentsPerCallMax> payload;
  size_t payload_count = 0;
  for (uint32_t i = 0; action.with_segments && i < action.call.segments.size(); ++i) {
    const auto bytes = action.call.Bytes(i);
    Segment* segment = ioctl_reply_.add_segments();
    segment->set_size_bytes(static_cast<uint32_t>(bytes.size()));
    segment->set_pool_offset_plus_one(places.pool_offset_plus_one[i]);
    if (places.pool_offset_plus_one[i] == 0)
      payload[payload_count++] = bytes;
    else if (!region.CopyToPool(places.pool_offset_plus_one[i] - 1, bytes.data(), segment->size_bytes()))
      return false;
  }
  if (sent != SentFile::kNone) {
    ioctl_reply_.set_fds(1);
    ioctl_reply_.set_replace_segment(action.mappable != 0 ? wire::kReplaceNothing : action.replace_segment);
    ioctl_reply_.set_replace_field_offset(action.replace_field_offset);
    ioctl_reply_.set_doorbell(sent == SentFile::kDoorbell);
  }
  std::array<char, wire::kBodySizeBytesMax> bytes;
  return lane.Put(HeaderOf(wire::kFrameKindIoctlReply, action.sequence, FileId::kNone),
                  Serialize(ioctl_reply_, bytes), {payload.data(), payload_count});
}

}  // namespace nvshim::broker
