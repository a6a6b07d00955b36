// Writer and reader of protobuf messages, for the handful of integers, strings and small messages that the
// messages of proto/frame.proto consist of: byte for byte what protobuf's own classes write, and no leniency
// that they do not have. Neither allocates or throws, and the reader trusts nothing: the codecs of both ends
// of a lane are made of them, because a call should cost no more than the look at its few numbers.
#ifndef PROTO_WIRE_MESSAGE_H_
#define PROTO_WIRE_MESSAGE_H_

#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

namespace nvshim::wire {

// Wire types of the protobuf encoding.
enum WireType : uint8_t { kVarint = 0, kFixed64 = 1, kLengthDelimited = 2, kFixed32 = 5 };

class MessageWriter {
 public:
  explicit MessageWriter(std::span<uint8_t> to) : begin_(to.data()), at_(begin_), end_(begin_ + to.size()) {}

  // A scalar field; the default value is left out, as proto3 does. Negative numbers are sign-extended.
  void Number(uint32_t field, uint64_t value) {
    if (value == 0) return;
    Varint(field << 3 | kVarint);
    Varint(value);
  }

  // A string or a finished message, which may be empty.
  void Blob(uint32_t field, const void* bytes, size_t size_bytes) {
    Varint(field << 3 | kLengthDelimited);
    Varint(size_bytes);
    if (size_bytes > static_cast<size_t>(end_ - at_)) {
      overflowed_ = true;
      return;
    }
    if (size_bytes != 0) std::memcpy(at_, bytes, size_bytes);
    at_ += size_bytes;
  }

  // A message of up to 127 bytes: the fields written in between are its own.
  uint8_t* BeginMessage(uint32_t field) {
    Varint(field << 3 | kLengthDelimited);
    uint8_t* const size = at_;
    Byte(0);
    return size;
  }
  void EndMessage(uint8_t* size) {
    if (!overflowed_) *size = static_cast<uint8_t>(at_ - size - 1);
  }

  // The bytes written; 0 when there was no room for them.
  size_t Finish() const { return overflowed_ ? 0 : static_cast<size_t>(at_ - begin_); }

 private:
  void Varint(uint64_t value) {
    while (value >= 0x80) [[unlikely]] {
        Byte(static_cast<uint8_t>(value) | 0x80);
        value >>= 7;
      }
    Byte(static_cast<uint8_t>(value));
  }

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
class MessageReader {
 public:
  explicit MessageReader(std::span<const uint8_t> bytes) : at_(bytes.data()), end_(at_ + bytes.size()) {}

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
  std::span<const uint8_t> bytes() const { return bytes_; }
  std::string_view text() const { return {reinterpret_cast<const char*>(bytes_.data()), bytes_.size()}; }
  bool failed() const { return failed_; }

 private:
  // The most bytes of an encoded 64-bit number: seven bits each.
  static constexpr size_t kVarintSizeBytesMax = 10;
  // A tag has 32 bits: 29 of the field's number, 3 of the wire type.
  static constexpr size_t kTagSizeBytesMax = 5;

  uint64_t Varint(size_t size_bytes_max = kVarintSizeBytesMax) {
    if (at_ != end_ && *at_ < 0x80) return *at_++;  // most are of one byte
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
        return Take(8);
      case kFixed32:
        return Take(4);
      case kLengthDelimited:
        return Take(Varint());
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
  std::span<const uint8_t> bytes_;
  bool failed_ = false;
};

}  // namespace nvshim::wire

#endif  // PROTO_WIRE_MESSAGE_H_
