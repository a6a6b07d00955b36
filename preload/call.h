// Carries one gathered ioctl, or one open, to the worker and its answer back: puts the buffers into a frame
// or into the data pool, exchanges it on a lane, checks that the answer fits the question, and writes it into
// the host program's memory. Any thread.
#ifndef PRELOAD_CALL_H_
#define PRELOAD_CALL_H_

#include <cstdint>
#include <span>

#include "preload/codec.h"
#include "preload/marshal.h"
#include "preload/process.h"

namespace nvshim::preload {

struct IoctlOutcome {
  int error = 0;                 // errno of the ioctl
  int received_fd = -1;          // owned by the caller, FD_CLOEXEC
  bool fd_lost = false;          // the call succeeded, but there was no room for its descriptor
  uint32_t replace_segment = 0;  // with a received_fd: whose fd number it takes
  uint32_t replace_field_offset = 0;
  bool doorbell = false;  // with a received_fd: a page of doorbells
};

// EIO in `error` when the worker is gone; ENOMEM when the buffers are more than the data pool holds.
IoctlOutcome CallIoctl(Session& session, uint32_t file_id, const GatheredCall& call,
                       std::span<const FileReference> files);

struct OpenOutcome {
  int error = 0;
  int fd = -1;  // owned by the caller, FD_CLOEXEC
  uint32_t file_id = 0;
};

OpenOutcome CallOpen(Session& session, const OpenRequest& request);

}  // namespace nvshim::preload

#endif  // PRELOAD_CALL_H_
