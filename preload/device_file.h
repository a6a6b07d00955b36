// The device files as the host program uses them: open, ioctl, close, on any thread. Decides whether an fd is
// ours, first by the table, then by asking the kernel who is at its other end, so that files which came by
// dup, fork, exec or over a socket work like the driver's. Sets errno as the driver does.
#ifndef PRELOAD_DEVICE_FILE_H_
#define PRELOAD_DEVICE_FILE_H_

#include <cstdint>

#include "preload/answer.h"
#include "preload/paths.h"

namespace nvshim::preload {

// Opens the device file that `path` names. Not handled only where this library may not act (a vfork child).
Answer OpenDevice(const PathInfo& path, int flags);

// True for request numbers that only NVIDIA's drivers take, or that are so small that they could be UVM's.
bool LooksLikeNvidia(uint32_t request);

// Answers `request` when `fd` is a device file of ours.
Answer IoctlDevice(int fd, uint32_t request, void* argument);

// The fd that mmap of `fd` is for: of a UVM file what the worker sent to be mapped, else `fd` itself.
int MappableFd(int fd);

// After a successful mmap of an fd whose byte in the table is not kUnknown.
void Mapped(int fd, uint64_t address, uint64_t size_bytes);

// For an fd whose byte in the table is not kUnknown. Handled (EBADF) when it is one of our own descriptors,
// which the host program does not know; else the table forgets it and the real close is due.
Answer CloseKnown(int fd);

}  // namespace nvshim::preload

#endif  // PRELOAD_DEVICE_FILE_H_
