#include "preload/codec.h"

#include <algorithm>

#include "proto/wire/message.h"

namespace nvshim::preload {

namespace {

using Reader = wire::MessageReader;
using Writer = wire::MessageWriter;

bool DecodeGpu(Bytes message, uint32_t* minor) {
  Reader reader(message);
  while (reader.Next())
    if (reader.IsNumber(1)) *minor = reader.number32();
  return !reader.failed();
}

bool DecodeVirtualFile(Bytes message, VirtualFile* file) {
  Reader reader(message);
  while (reader.Next()) {
    if (reader.IsBlob(1)) file->path = reader.text();
    if (reader.IsBlob(2)) file->contents = reader.text();
  }
  return !reader.failed();
}

// The repeated fields of Welcome. False when one is malformed or there are too many.
bool TakeRepeatedOfWelcome(const Reader& reader, Welcome* welcome) {
  if (reader.IsBlob(3)) {
    if (welcome->gpu_count == kGpusMax) return false;
    return DecodeGpu(reader.bytes(), &welcome->gpu_minors[welcome->gpu_count++]);
  }
  if (reader.IsBlob(4)) {
    if (welcome->file_count == kVirtualFilesMax) return false;
    return DecodeVirtualFile(reader.bytes(), &welcome->files[welcome->file_count++]);
  }
  return true;
}

}  // namespace

size_t EncodeHello(std::span<uint8_t> to, uint32_t protocol_version, std::string_view shim_version,
                   uint32_t pid) {
  Writer writer(to);
  uint8_t* const hello = writer.BeginMessage(1);
  writer.Number(1, protocol_version);
  // A log label of at most 64 bytes.
  if (!shim_version.empty()) writer.Blob(2, shim_version.data(), std::min<size_t>(shim_version.size(), 64));
  writer.Number(3, pid);
  writer.EndMessage(hello);
  return writer.Finish();
}

size_t EncodeFileClaim(std::span<uint8_t> to, uint32_t process_id) {
  Writer writer(to);
  writer.Number(1, process_id);
  return writer.Finish();
}

size_t EncodeOpenRequest(std::span<uint8_t> to, const OpenRequest& request) {
  Writer writer(to);
  writer.Number(1, request.device_class);
  writer.Number(2, request.minor);
  writer.Number(3, request.open_flags);
  return writer.Finish();
}

size_t EncodeIoctlRequest(std::span<uint8_t> to, const IoctlRequest& request) {
  Writer writer(to);
  writer.Number(1, request.command);
  for (const SegmentMessage& segment : request.segments) {
    uint8_t* const message = writer.BeginMessage(2);
    writer.Number(1, segment.size_bytes);
    writer.Number(2, segment.parent);
    writer.Number(3, segment.pointer_offset);
    writer.Number(4, segment.pool_offset_plus_one);
    writer.EndMessage(message);
  }
  for (const FileReference& file : request.files) {
    uint8_t* const message = writer.BeginMessage(3);
    writer.Number(1, file.segment);
    writer.Number(2, file.field_offset);
    writer.Number(3, file.file_id);
    writer.EndMessage(message);
  }
  return writer.Finish();
}

ChannelKind DecodeChannelMessage(Bytes datagram, Bytes* message) {
  ChannelKind kind = ChannelKind::kNone;
  Reader reader(datagram);
  while (reader.Next()) {
    for (uint32_t field = 1; field <= 4; ++field)
      if (reader.IsBlob(field)) {
        kind = static_cast<ChannelKind>(field);
        *message = reader.bytes();
      }
  }
  return reader.failed() ? ChannelKind::kNone : kind;
}

bool DecodeWelcome(Bytes message, Welcome* welcome) {
  Reader reader(message);
  while (reader.Next()) {
    if (reader.IsNumber(1)) welcome->process_id = reader.number32();
    if (reader.IsBlob(2)) welcome->driver_version = reader.text();
    if (reader.IsNumber(5)) welcome->region_size_bytes = reader.number();
    if (reader.IsNumber(6)) welcome->uvm_major = reader.number32();
    if (reader.IsNumber(7)) welcome->guest_instance = reader.number();
    if (!TakeRepeatedOfWelcome(reader, welcome)) return false;
  }
  return !reader.failed();
}

bool DecodeRefused(Bytes message, Refused* refused) {
  Reader reader(message);
  while (reader.Next()) {
    if (reader.IsNumber(1)) refused->error = static_cast<int32_t>(reader.number());
    if (reader.IsBlob(2)) refused->reason = reader.text();
  }
  return !reader.failed();
}

bool DecodeFdDelivery(Bytes message, FdDelivery* delivery) {
  Reader reader(message);
  while (reader.Next()) {
    if (reader.IsNumber(1)) delivery->lane = reader.number32();
    if (reader.IsNumber(2)) delivery->sequence = reader.number32();
  }
  return !reader.failed();
}

bool DecodeOpenReply(Bytes body, OpenReply* reply) {
  Reader reader(body);
  while (reader.Next()) {
    if (reader.IsNumber(1)) reply->error = static_cast<int32_t>(reader.number());
    if (reader.IsNumber(2)) reply->file_id = reader.number32();
    if (reader.IsNumber(3)) reply->fds = reader.number32();
  }
  return !reader.failed();
}

bool DecodeIoctlReply(Bytes body, IoctlReply* reply) {
  Reader reader(body);
  while (reader.Next()) {
    if (reader.IsNumber(1)) reply->error = static_cast<int32_t>(reader.number());
    if (reader.IsNumber(2)) reply->copied_out = reader.number() != 0;
    if (reader.IsNumber(3)) reply->fds = reader.number32();
    if (reader.IsNumber(4)) reply->replace_segment = reader.number32();
    if (reader.IsNumber(5)) reply->replace_field_offset = reader.number32();
    if (reader.IsNumber(6)) reply->doorbell = reader.number() != 0;
  }
  return !reader.failed();
}

}  // namespace nvshim::preload
