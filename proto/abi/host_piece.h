// Memory of a guest process that a GPU is to see (class NV01_MEMORY_SYSTEM_OS_DESCRIPTOR), as shim and broker
// tell each other about it. The driver behind a worker cannot reach the pages of a guest process, so the shim
// puts pages of a *host file* in their place: a memfd that the worker made and both can map. A list of pieces
// says, from the first byte of the registered range to the last, which file and offset stands behind it.
//
//     range      | 0x1000 bytes     | 0x4000 bytes              | 0x2000 bytes |
//     pieces     | inode 7, 0x5000  | inode 0, 0x7f0000001000   | inode 7, ... |     inode 0: of a new host
//     file
//
// Plain data in the byte order of the machine; the broker believes nothing of it
// (broker/driver/host_memory.h).
#ifndef PROTO_ABI_HOST_PIECE_H_
#define PROTO_ABI_HOST_PIECE_H_

#include <cstdint>

namespace nvshim::abi {

struct HostPiece {
  uint64_t inode;       // of a host file, or 0: the new one that comes with the reply
  uint64_t offset;      // in that file, of the first byte; a multiple of the page size
  uint64_t size_bytes;  // a multiple of the page size; 0: the process has unmapped the last of this file
};
static_assert(sizeof(HostPiece) == 24, "the list lies in a frame as an array of these");

// A buffer is one piece, a range of the heap a handful; and what was unmapped meanwhile is told in passing.
inline constexpr uint32_t kHostPiecesMax = 64;

// Host files alive in one process: what a program registers at the same time. Each costs the worker a
// descriptor.
inline constexpr uint32_t kHostFilesMax = 1024;

// A host file is as large as the user half of the address space, and sparse: a page stands at the offset that
// was its address when it was put there. So a mapping that the program lets grow (mremap, and with it
// realloc) runs into pages that nobody else has.
inline constexpr uint64_t kHostFileBytes = uint64_t{1} << 47;

}  // namespace nvshim::abi

#endif  // PROTO_ABI_HOST_PIECE_H_
