// Memory that processes share: a memfd whose size is sealed, so that nobody who has it can make an access of
// another one fault.
#ifndef BROKER_IO_SEALED_MEMFD_H_
#define BROKER_IO_SEALED_MEMFD_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "broker/io/fd.h"

namespace nvshim::broker {

// Zeros, `size_bytes` of them. Fails when the machine is short of descriptors or memory.
absl::StatusOr<Fd> CreateSealedMemfd(const char* name, uint64_t size_bytes);

// Maps it, shared, for reading and writing.
absl::StatusOr<void*> MapSealedMemfd(const Fd& memfd, uint64_t size_bytes);

}  // namespace nvshim::broker

#endif  // BROKER_IO_SEALED_MEMFD_H_
