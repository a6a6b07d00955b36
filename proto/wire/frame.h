// The flat header in front of every frame of a lane, and the bounds that a frame keeps.
//
//   byte 0        4        6          8             12            16         20         24              32
//        | magic  | kind   | body     | payload     | sequence    | file_id  | reserved (must be 0)     |
//        | u32    | u16    | u16      | u32         | u32         | u32      | u32      | u64           |
//   then  body: `body_size_bytes` of one protobuf message, zero-padded to 8
//   then  payload: `payload_size_bytes`, the segments one behind the other, each zero-padded to 8
//
// Both sides share this layout and no code beyond it: each copies a header out of the ring before it looks at
// it, and believes nothing it says until Check of its own has passed.
#ifndef PROTO_WIRE_FRAME_H_
#define PROTO_WIRE_FRAME_H_

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace nvshim::wire {

// Spoken by this build, in Hello. One number, because there is one version so far.
inline constexpr uint32_t kProtocolVersion = 1;

inline constexpr uint32_t kFrameMagic = 0x4653564e;  // "NVSF" in memory order

enum FrameKind : uint16_t {
  kFrameKindOpen = 1,         // OpenRequest
  kFrameKindIoctl = 2,        // IoctlRequest
  kFrameKindOpenReply = 33,   // OpenReply
  kFrameKindIoctlReply = 34,  // IoctlReply
};

struct FrameHeader {
  uint32_t magic;               // kFrameMagic
  uint16_t kind;                // FrameKind
  uint16_t body_size_bytes;     // at most kBodySizeBytesMax, without padding
  uint32_t payload_size_bytes;  // a multiple of 8, at most what is left of the ring
  uint32_t sequence;            // chosen by the guest, repeated in the reply
  uint32_t file_id;             // of the placeholder; 0 for none
  uint32_t reserved0;           // must be 0
  uint64_t reserved1;           // must be 0
};
static_assert(sizeof(FrameHeader) == 32, "the rings hold frames at multiples of 8 bytes behind this header");
static_assert(offsetof(FrameHeader, kind) == 4);
static_assert(offsetof(FrameHeader, body_size_bytes) == 6);
static_assert(offsetof(FrameHeader, payload_size_bytes) == 8);
static_assert(offsetof(FrameHeader, sequence) == 12);
static_assert(offsetof(FrameHeader, file_id) == 16);
static_assert(offsetof(FrameHeader, reserved0) == 20);
static_assert(offsetof(FrameHeader, reserved1) == 24);
static_assert(std::is_trivially_copyable_v<FrameHeader> &&
                  std::has_unique_object_representations_v<FrameHeader>,
              "padding would leak memory of one side to the other");

// A body is a handful of integers; 24 segments and 8 file references encode to less than 700 bytes.
inline constexpr uint32_t kBodySizeBytesMax = 1024;

// The deepest call known (NV00FD batches) names 5 buffers; the struct itself and its parameters make 7.
inline constexpr uint32_t kSegmentsPerCallMax = 8;

// IoctlReply.replace_segment: the descriptor replaces nothing; it is what the file of the call is mapped as.
inline constexpr uint32_t kReplaceNothing = 0xffffffff;

// NV_ESC_EXPORT_TO_DMABUF_FD and the wrappers name one file, UVM_MM_INITIALIZE one.
inline constexpr uint32_t kFilesPerCallMax = 4;

// The driver refuses embedded buffers beyond 1 MiB (rmapi param copy); the struct that points to them comes
// on top.
inline constexpr uint32_t kSegmentSizeBytesMax = 1u << 20;

inline constexpr uint32_t AlignUp8(uint32_t size_bytes) { return (size_bytes + 7u) & ~7u; }

}  // namespace nvshim::wire

#endif  // PROTO_WIRE_FRAME_H_
