// The messages of proto/frame.proto as the shim writes and reads them, made of proto/wire/message.h: every
// protobuf runtime that was tried brings exceptions, and with them an unwinder that old libcs cannot load,
// into the host program. Nothing here allocates, throws or trusts its input; codec_test holds it to
// libprotobuf's generated classes.
#ifndef PRELOAD_CODEC_H_
#define PRELOAD_CODEC_H_

#include <cstdint>
#include <span>
#include <string_view>

#include "proto/wire/frame.h"

namespace nvshim::preload {

using Bytes = std::span<const uint8_t>;

// ---- What the shim sends. Each encoder returns the bytes written, 0 when `to` is too small. ----

struct SegmentMessage {  // Segment
  uint32_t size_bytes = 0;
  uint32_t parent = 0;
  uint32_t pointer_offset = 0;
  uint32_t pool_offset_plus_one = 0;
};

struct FileReference {
  uint32_t segment = 0;
  uint32_t field_offset = 0;
  uint32_t file_id = 0;
};

struct OpenRequest {
  uint32_t device_class = 0;
  uint32_t minor = 0;
  uint32_t open_flags = 0;
};

struct IoctlRequest {
  uint32_t command = 0;
  std::span<const SegmentMessage> segments;
  std::span<const FileReference> files;
};

size_t EncodeHello(std::span<uint8_t> to, uint32_t protocol_version, std::string_view shim_version,
                   uint32_t pid);
size_t EncodeFileClaim(std::span<uint8_t> to, uint32_t process_id);
size_t EncodeOpenRequest(std::span<uint8_t> to, const OpenRequest& request);
size_t EncodeIoctlRequest(std::span<uint8_t> to, const IoctlRequest& request);

// ---- What the shim receives. Each decoder returns false for bytes that are not such a message, or that hold
// more than the bounds below. Views point into the bytes decoded. ----

// More GPUs than a machine has; /dev/nvidia<N> ends at minor 254.
inline constexpr uint32_t kGpusMax = 64;
// The list of files that clients look at has about ten, some of them per GPU.
inline constexpr uint32_t kVirtualFilesMax = 256;

struct VirtualFile {
  std::string_view path;
  std::string_view contents;
};

struct Welcome {
  uint32_t process_id = 0;
  std::string_view driver_version;
  uint32_t gpu_count = 0;
  uint32_t gpu_minors[kGpusMax] = {};
  uint32_t file_count = 0;
  VirtualFile files[kVirtualFilesMax] = {};
  uint64_t region_size_bytes = 0;
  uint32_t uvm_major = 0;
  uint64_t guest_instance = 0;
};

struct Refused {
  int32_t error = 0;
  std::string_view reason;
};

struct FdDelivery {
  uint32_t lane = 0;
  uint32_t sequence = 0;
};

struct OpenReply {
  int32_t error = 0;
  uint32_t file_id = 0;
  uint32_t fds = 0;
};

struct IoctlReply {
  int32_t error = 0;
  bool copied_out = false;
  uint32_t fds = 0;
  uint32_t replace_segment = 0;
  uint32_t replace_field_offset = 0;
  bool doorbell = false;
};

// Which member of ChannelMessage a datagram is. The last one wins, as in protobuf.
enum class ChannelKind : uint8_t { kNone, kHello = 1, kWelcome = 2, kRefused = 3, kFdDelivery = 4 };
ChannelKind DecodeChannelMessage(Bytes datagram, Bytes* message);

bool DecodeWelcome(Bytes message, Welcome* welcome);
bool DecodeRefused(Bytes message, Refused* refused);
bool DecodeFdDelivery(Bytes message, FdDelivery* delivery);
bool DecodeOpenReply(Bytes body, OpenReply* reply);
bool DecodeIoctlReply(Bytes body, IoctlReply* reply);

}  // namespace nvshim::preload

#endif  // PRELOAD_CODEC_H_
