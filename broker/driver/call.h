// One driver call as plain data: the request number, the bytes of the parameter struct and of every buffer it
// points to, and the files that its fd fields name. The core fills it from a frame, a driver executes it in
// place, the core takes the new bytes back. No pointer inside the bytes is meaningful: which buffer belongs
// to which pointer is what `segments` says. Nothing here is checked; request_check.h does that before a call
// is made.
#ifndef BROKER_DRIVER_CALL_H_
#define BROKER_DRIVER_CALL_H_

#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

namespace nvshim::broker {

// An open file of the driver, minted by Driver::Open. 0 is never an open file.
using DriverFileId = uint32_t;

struct CallSegment {
  uint32_t offset;  // of the first byte inside DriverCall::buffer, 8-aligned
  uint32_t size_bytes;
  uint32_t parent;          // segment that holds the pointer to this one; of segment 0: 0
  uint32_t pointer_offset;  // of the 8-byte pointer inside the parent
};

// An fd field and the driver file it stands for.
struct CallFile {
  uint32_t segment;
  uint32_t field_offset;
  DriverFileId file;
};

struct DriverCall {
  uint32_t command = 0;         // ioctl request number, 32 bits
  std::vector<uint8_t> buffer;  // bytes of all segments; kept between calls so that nothing is allocated
  std::vector<CallSegment> segments;  // [0] is the struct that the ioctl argument points to
  std::vector<CallFile> files;

  std::span<uint8_t> Bytes(uint32_t segment) {
    return {buffer.data() + segments[segment].offset, segments[segment].size_bytes};
  }
  std::span<const uint8_t> Bytes(uint32_t segment) const {
    return {buffer.data() + segments[segment].offset, segments[segment].size_bytes};
  }

  // The segment that the pointer at `pointer_offset` of `parent` leads to; 0 when the pointer is NULL.
  uint32_t Child(uint32_t parent, uint32_t pointer_offset) const {
    for (uint32_t i = 1; i < segments.size(); ++i)
      if (segments[i].parent == parent && segments[i].pointer_offset == pointer_offset) return i;
    return 0;
  }

  // The driver file named by the fd field at `field_offset` of `segment`; 0 when it names none.
  DriverFileId File(uint32_t segment, uint32_t field_offset) const {
    for (const CallFile& file : files)
      if (file.segment == segment && file.field_offset == field_offset) return file.file;
    return 0;
  }
};

// Reads and writes integers inside a struct's bytes. The offset must lie inside.
template <typename T>
T Get(std::span<const uint8_t> bytes, size_t offset) {
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof(T));
  return value;
}
template <typename T>
void Put(std::span<uint8_t> bytes, size_t offset, T value) {
  std::memcpy(bytes.data() + offset, &value, sizeof(T));
}

}  // namespace nvshim::broker

#endif  // BROKER_DRIVER_CALL_H_
