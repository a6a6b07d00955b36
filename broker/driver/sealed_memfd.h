// memfds that guests receive: sealed, because a guest that shrank one would make every other reader fault.
#ifndef BROKER_DRIVER_SEALED_MEMFD_H_
#define BROKER_DRIVER_SEALED_MEMFD_H_

#include <cstdint>

namespace nvshim::broker {

// A sparse memfd of `size_bytes`, whole pages, that never changes its size; owned by the caller. -1 with
// errno set when the machine is short of descriptors or memory.
int MakeSealedMemfd(const char* name, uint64_t size_bytes);

}  // namespace nvshim::broker

#endif  // BROKER_DRIVER_SEALED_MEMFD_H_
