#include "broker/io/frame_codec.h"

#include <cstring>

#include "proto/wire/message.h"

namespace nvshim::broker {
namespace {

using wire::MessageReader;
using wire::MessageWriter;

// Appends what a Segment says of its bytes. False when no call can have such a segment in this place.
bool AddSegment(MessageReader reader, uint32_t offset, DriverCall& call, SegmentPlaces* places) {
  const size_t index = call.segments.size();
  if (index == wire::kSegmentsPerCallMax) return false;
  CallSegment segment{offset, 0, 0, 0};
  uint32_t pool_offset_plus_one = 0;
  while (reader.Next()) {
    if (reader.IsNumber(1)) segment.size_bytes = reader.number32();
    if (reader.IsNumber(2)) segment.parent = reader.number32();
    if (reader.IsNumber(3)) segment.pointer_offset = reader.number32();
    if (reader.IsNumber(4)) pool_offset_plus_one = reader.number32();
  }
  if (reader.failed() || segment.size_bytes > wire::kSegmentSizeBytesMax) return false;
  if (offset + wire::AlignUp8(segment.size_bytes) > kCallBytesMax) return false;
  if (index != 0) {
    if (segment.parent >= index || segment.size_bytes == 0) return false;
    if (uint64_t{segment.pointer_offset} + 8 > call.segments[segment.parent].size_bytes) return false;
  }
  places->pool_offset_plus_one[index] = pool_offset_plus_one;
  call.segments.push_back(segment);
  return true;
}

bool AddFile(MessageReader reader, std::vector<FileReferenceUntrusted>& files) {
  if (files.size() == wire::kFilesPerCallMax) return false;
  FileReferenceUntrusted file{};
  while (reader.Next()) {
    if (reader.IsNumber(1)) file.segment = reader.number32();
    if (reader.IsNumber(2)) file.field_offset = reader.number32();
    if (reader.IsNumber(3)) file.file_id = reader.number32();
  }
  files.push_back(file);
  return !reader.failed();
}

// Fills the call's buffer, the gaps between the segments with zeros.
bool TakeBytes(ServerLane& lane, const Region& region, const SegmentPlaces& places, DriverCall& call) {
  for (size_t i = 0; i < call.segments.size(); ++i) {
    const CallSegment& segment = call.segments[i];
    uint8_t* const to = call.buffer.data() + segment.offset;
    const uint32_t pool_offset_plus_one = places.pool_offset_plus_one[i];
    const bool taken = pool_offset_plus_one != 0
                           ? region.CopyFromPool(to, pool_offset_plus_one - 1, segment.size_bytes)
                           : lane.ReadPayload(to, segment.size_bytes);
    if (!taken) return false;
    std::memset(to + segment.size_bytes, 0, wire::AlignUp8(segment.size_bytes) - segment.size_bytes);
  }
  return true;
}

wire::FrameHeader HeaderOf(wire::FrameKind kind, uint32_t sequence, FileId file) {
  wire::FrameHeader header{};
  header.kind = kind;
  header.sequence = sequence;
  header.file_id = static_cast<uint32_t>(file);
  return header;
}

// The numbers of a reply, of which there are six at most.
class Body {
 public:
  void Number(uint32_t field, uint64_t value) { writer_.Number(field, value); }
  std::span<const uint8_t> Finish() const { return std::span(bytes_).first(writer_.Finish()); }

 private:
  std::array<uint8_t, 64> bytes_;
  MessageWriter writer_{bytes_};
};

// As protobuf encodes an int32.
uint64_t SignExtended(int32_t number) { return static_cast<uint64_t>(int64_t{number}); }

}  // namespace

bool DecodeOpen(const FrameCopy& frame, CallToken token, OpenRequested* event) {
  *event = {token, frame.header.sequence, 0, 0, 0};
  MessageReader reader(frame.Body());
  while (reader.Next()) {
    if (reader.IsNumber(1)) event->device_class_untrusted = reader.number32();
    if (reader.IsNumber(2)) event->minor_untrusted = reader.number32();
    if (reader.IsNumber(3)) event->flags_untrusted = reader.number32();
  }
  return !reader.failed();
}

bool DecodeIoctl(const FrameCopy& frame, ServerLane& lane, CallToken token, const Region& region,
                 IoctlRequested* event, SegmentPlaces* places) {
  event->token = token;
  event->sequence = frame.header.sequence;
  event->file_id_untrusted = frame.header.file_id;
  event->files_untrusted.clear();
  DriverCall& call = event->call_untrusted;
  call.command = 0;
  call.segments.clear();
  call.files.clear();
  uint32_t size_bytes = 0;
  MessageReader reader(frame.Body());
  while (reader.Next()) {
    if (reader.IsNumber(1)) call.command = reader.number32();
    if (reader.IsBlob(2)) {
      if (!AddSegment(MessageReader(reader.bytes()), size_bytes, call, places)) return false;
      size_bytes += wire::AlignUp8(call.segments.back().size_bytes);
    }
    if (reader.IsBlob(3) && !AddFile(MessageReader(reader.bytes()), event->files_untrusted)) return false;
  }
  if (reader.failed()) return false;
  call.buffer.resize(size_bytes);
  return TakeBytes(lane, region, *places, call);
}

bool WriteReply(ServerLane& lane, const ReplyOpen& action) {
  Body body;
  body.Number(1, SignExtended(action.error));
  body.Number(2, static_cast<uint32_t>(action.file));
  body.Number(3, action.error == 0 ? 1 : 0);
  return lane.Put(HeaderOf(wire::kFrameKindOpenReply, action.sequence, action.file), body.Finish(), {});
}

bool WriteReply(ServerLane& lane, Region& region, const ReplyIoctl& action, const SegmentPlaces& places,
                SentFile sent) {
  std::array<std::span<const uint8_t>, wire::kSegmentsPerCallMax> payload;
  size_t payload_count = 0;
  for (uint32_t i = 0; action.with_segments && i < action.call.segments.size(); ++i) {
    const auto bytes = action.call.Bytes(i);
    if (places.pool_offset_plus_one[i] == 0)
      payload[payload_count++] = bytes;
    else if (!region.CopyToPool(places.pool_offset_plus_one[i] - 1, bytes.data(),
                                static_cast<uint32_t>(bytes.size())))
      return false;
  }
  Body body;
  body.Number(1, SignExtended(action.error));
  body.Number(2, action.with_segments && !action.call.segments.empty());
  if (sent != SentFile::kNone) {
    body.Number(3, 1);
    body.Number(4, action.mappable != 0 ? wire::kReplaceNothing : action.replace_segment);
    body.Number(5, action.replace_field_offset);
    body.Number(6, sent == SentFile::kDoorbell);
  }
  return lane.Put(HeaderOf(wire::kFrameKindIoctlReply, action.sequence, FileId::kNone), body.Finish(),
                  {payload.data(), payload_count});
}

}  // namespace nvshim::broker
