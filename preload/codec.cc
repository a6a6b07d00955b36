#include "preload/codec.h"

#include <algorithm>
#include <cstring>

namespace nvshim::preload {

namespace {

// Wire types of the protobuf encoding.
enum WireType : uint8_t { kVarint = 0, kFixed64 = 1, kLengthDelimited = 2, kFixed32 = 5 };

// The most bytes of an encoded 64-bit number: seven bits each.
constexpr size_t kVarintSizeBytesMax = 10;
// A tag has 32 bits: 29 of the field's number, 3 of the wire type.
constexpr size_t kTagSizeBytesMax = 5;

class Writer {
 public:
  explicit Writer(std::span<uint8_t> to) : begin_(to.data()), at_(begin_), end_(begin_ + to.size()) {}

  void Varint(uint64_t value) {
    while (value >= 0x80) {
      Byte(static_cast<uint8_t>(value) | 0x80);
      value >>= 7;
    }
    Byte(static_cast<uint8_t>(value));
  }

  // A scalar field; the default value is left out, as proto3 does.
  void Number(uint32_t field, uint64_t value) {
    if (value == 0) return;
    Varint(field << 3 | kVarint);
    Varint(value);
  }

  // A string or a finished submessage, which may be empty.
  void Blob(uint32_t field, const void* bytes, size_t size_bytes) {
    Varint(field << 3 | kLengthDelimited);
    Varint(size_bytes);
    if (size_bytes > static_cast<size_t>(end_ - at_)) {
      overflowed_ = true;
      return;
    }
    std::memcpy(at_, bytes, size_bytes);
    at_ += size_bytes;
  }

  size_t Finish() const { return overflowed_ ? 0 : static_cast<size_t>(at_ - begin_); }

 private:
  void Byte(uint8_t byte) {
    if (at_ == end_) {
      overflowed_ = true;
      return;
    }
    *at_++ = byte;
  }

  uint8_t* const begin_;
  uint8_t* at_;
  uint8_t* const end_;
  bool overflowed_ = false;
};

// Walks over the fields of one message. `failed` tells an end from nonsense.
class Reader {
 public:
  explicit Reader(Bytes bytes) : at_(bytes.data()), end_(at_ + bytes.size()) {}

  bool Next() {
    if (at_ == end_ || failed_) return false;
    const uint64_t tag = Varint(kTagSizeBytesMax);
    field_ = static_cast<uint32_t>(tag >> 3);
    type_ = static_cast<uint8_t>(tag & 7);
    if (field_ == 0 || tag >> 32 != 0) failed_ = true;
    if (!failed_) Value();
    return !failed_;
  }

  // True when the field at hand is `field` as a number, or as bytes.
  bool IsNumber(uint32_t field) const { return field_ == field && type_ == kVarint; }
  bool IsBlob(uint32_t field) const { return field_ == field && type_ == kLengthDelimited; }

  uint64_t number() const { return number_; }
  uint32_t number32() const { return static_cast<uint32_t>(number_); }
  Bytes bytes() const { return bytes_; }
  std::string_view text() const { return {reinterpret_cast<const char*>(bytes_.data()), bytes_.size()}; }
  bool failed() const { return failed_; }

 private:
  uint64_t Varint(size_t size_bytes_max = kVarintSizeBytesMax) {
    uint64_t value = 0;
    for (size_t i = 0; i < size_bytes_max && at_ != end_; ++i) {
      const uint8_t byte = *at_++;
      value |= static_cast<uint64_t>(byte & 0x7f) << (7 * i);
      if ((byte & 0x80) == 0) return value;
    }
    failed_ = true;
    return 0;
  }

  void Value() {
    switch (type_) {
      case kVarint:
        number_ = Varint();
        return;
      case kFixed64:
        Take(8);
        return;
      case kFixed32:
        Take(4);
        return;
      case kLengthDelimited:
        Take(Varint());
        return;
      default:
        failed_ = true;  // groups, which proto3 does not have
    }
  }

  void Take(uint64_t size_bytes) {
    if (failed_ || size_bytes > static_cast<uint64_t>(end_ - at_)) {
      failed_ = true;
      return;
    }
    bytes_ = {at_, static_cast<size_t>(size_bytes)};
    at_ += size_bytes;
  }

  const uint8_t* at_;
  const uint8_t* const end_;
  uint32_t field_ = 0;
  uint8_t type_ = 0;
  uint64_t number_ = 0;
  Bytes bytes_;
  bool failed_ = false;
};

// Four numbers of at most 6 bytes each.
constexpr size_t kSmallMessageSizeBytesMax = 32;

bool DecodeSegment(Bytes message, SegmentMessage* segment) {
  Reader reader(message);
  while (reader.Next()) {
    if (reader.IsNumber(1)) segment->size_bytes = reader.number32();
    if (reader.IsNumber(2)) segment->parent = reader.number32();
    if (reader.IsNumber(3)) segment->pointer_offset = reader.number32();
    if (reader.IsNumber(4)) segment->pool_offset_plus_one = reader.number32();
  }
  return !reader.failed();
}

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
  // Hello's version is a log label of at most 64 bytes.
  uint8_t hello_bytes[kSmallMessageSizeBytesMax + 64];
  Writer hello(hello_bytes);
  hello.Number(1, protocol_version);
  if (!shim_version.empty()) hello.Blob(2, shim_version.data(), std::min<size_t>(shim_version.size(), 64));
  hello.Number(3, pid);
  Writer message(to);
  message.Blob(1, hello_bytes, hello.Finish());
  return message.Finish();
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
  uint8_t scratch[kSmallMessageSizeBytesMax];
  for (const SegmentMessage& segment : request.segments) {
    Writer inner(scratch);
    inner.Number(1, segment.size_bytes);
    inner.Number(2, segment.parent);
    inner.Number(3, segment.pointer_offset);
    inner.Number(4, segment.pool_offset_plus_one);
    writer.Blob(2, scratch, inner.Finish());
  }
  for (const FileReference& file : request.files) {
    Writer inner(scratch);
    inner.Number(1, file.segment);
    inner.Number(2, file.field_offset);
    inner.Number(3, file.file_id);
    writer.Blob(3, scratch, inner.Finish());
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
    if (reader.IsNumber(3)) reply->fds = reader.number32();
    if (reader.IsNumber(4)) reply->replace_segment = reader.number32();
    if (reader.IsNumber(5)) reply->replace_field_offset = reader.number32();
    if (reader.IsNumber(6)) reply->doorbell = reader.number() != 0;
    if (!reader.IsBlob(2)) continue;
    if (reply->segment_count == wire::kSegmentsPerCallMax) return false;
    if (!DecodeSegment(reader.bytes(), &reply->segments[reply->segment_count++])) return false;
  }
  return !reader.failed();
}

}  // namespace nvshim::preload
