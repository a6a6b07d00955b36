// Finds the buffers of one ioctl: the parameter struct, the buffers it points to, and the fd numbers inside
// them, as the ABI table says; and writes the answer back into them. Runs on the host program's thread and
// reads its memory as the driver would: a pointer to nowhere faults here where the driver would answer EFAULT
// (only NULL and the first page are told apart). Does not talk to anybody.
#ifndef PRELOAD_MARSHAL_H_
#define PRELOAD_MARSHAL_H_

#include <cstdint>

#include "preload/paths.h"
#include "proto/abi/spec.h"
#include "proto/wire/frame.h"

namespace nvshim::preload {

// One buffer of the host program.
struct GuestBuffer {
  uint8_t* address = nullptr;
  uint32_t size_bytes = 0;
  uint32_t parent = 0;          // index of the buffer that holds the pointer to this one
  uint32_t pointer_offset = 0;  // of that pointer
};

// An fd number inside a buffer.
struct FdSite {
  uint32_t buffer = 0;
  uint32_t offset = 0;
  int fd = -1;
  abi::FdUse use = abi::FdUse::kIgnored;
};

// Bytes of a buffer that belong to the host program: pointers and fd numbers. No answer overwrites them.
struct OwnField {
  uint32_t buffer = 0;
  uint32_t offset = 0;
  uint32_t size_bytes = 0;
};

struct GatheredCall {
  // The struct with the most fields in any table has 8 pointers and 2 fds; parameters of RM_ALLOC add 3.
  static constexpr uint32_t kOwnFieldsMax = 24;

  uint32_t command = 0;
  uint32_t buffer_count = 0;
  GuestBuffer buffers[wire::kSegmentsPerCallMax];
  uint32_t fd_count = 0;
  FdSite fds[wire::kFilesPerCallMax];
  uint32_t own_count = 0;
  OwnField own[kOwnFieldsMax];  // sorted by buffer, then offset
};

// Fills `call` for `command` with `argument` on a device of class `device_class`. Returns 0, or the errno of
// a call that never gets as far as the driver's own code: EINVAL for a request number or size that is not in
// `table`, for lengths beyond the driver's limits and for more buffers than a frame holds; EFAULT for a null
// argument.
int Gather(const abi::Table& table, DeviceClass device_class, uint32_t command, void* argument,
           GatheredCall* call);

// Copies the answer for buffer `index` into the host program's memory, all but its own fields. `read(to, n)`
// brings the next n bytes of the answer, `skip(n)` passes over them; both return false at the answer's end,
// and so does this.
template <typename Read, typename Skip>
bool Scatter(const GatheredCall& call, uint32_t index, Read&& read, Skip&& skip) {
  const GuestBuffer& buffer = call.buffers[index];
  uint32_t at = 0;
  for (uint32_t i = 0; i < call.own_count; ++i) {
    const OwnField& own = call.own[i];
    if (own.buffer != index || own.offset + own.size_bytes <= at) continue;
    if (own.offset > at && !read(buffer.address + at, own.offset - at)) return false;
    const uint32_t from = own.offset > at ? own.offset : at;
    if (!skip(own.offset + own.size_bytes - from)) return false;
    at = own.offset + own.size_bytes;
  }
  return at == buffer.size_bytes || read(buffer.address + at, buffer.size_bytes - at);
}

}  // namespace nvshim::preload

#endif  // PRELOAD_MARSHAL_H_
