// Memory of the host program that a GPU is to see (class NV01_MEMORY_SYSTEM_OS_DESCRIPTOR). The driver behind
// the worker cannot reach this process' pages, so they are swapped: the worker makes a file, its contents
// become those of the range, and the file is mapped shared over the range.
//
// Only anonymous memory is swapped. What another thread writes into the range during the swap is lost; a
// process forked before no longer shares a range that was shared, one forked later shares it. Any thread.
#ifndef PRELOAD_HOST_MEMORY_H_
#define PRELOAD_HOST_MEMORY_H_

#include <cstddef>
#include <cstdint>

namespace nvshim::preload {

// True when [address, address + size_bytes) is whole pages of unnamed anonymous memory that can be read and
// written. Memory that was swapped before is not.
bool CanShare(uint64_t address, uint64_t size_bytes);

// Swaps the range for `fd`, which is at least as long. False, with the range as it was, when that fails.
bool ShareAs(uint64_t address, uint64_t size_bytes, int fd);

}  // namespace nvshim::preload

#endif  // PRELOAD_HOST_MEMORY_H_
