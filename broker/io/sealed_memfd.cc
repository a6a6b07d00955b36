#include "broker/io/sealed_memfd.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>

#include "absl/status/status.h"

namespace nvshim::broker {

absl::StatusOr<Fd> CreateSealedMemfd(const char* name, uint64_t size_bytes) {
  Fd memfd(memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!memfd.valid()) return absl::ErrnoToStatus(errno, "memfd_create");
  if (ftruncate(memfd.get(), static_cast<off_t>(size_bytes)) != 0)
    return absl::ErrnoToStatus(errno, "ftruncate of a memfd");
  if (fcntl(memfd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)
    return absl::ErrnoToStatus(errno, "sealing a memfd");
  return memfd;
}

absl::StatusOr<void*> MapSealedMemfd(const Fd& memfd, uint64_t size_bytes) {
  void* const base = mmap(nullptr, size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, memfd.get(), 0);
  if (base == MAP_FAILED) return absl::ErrnoToStatus(errno, "mmap of a memfd");
  return base;
}

}  // namespace nvshim::broker
