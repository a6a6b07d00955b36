// What this process remembers about its fd numbers: one byte per fd, read on every ioctl and close of the
// host program, and for the few that are ours which file they were. Only a cache: the kernel keeps the books
// (each device file is an fd of its own), so an entry may be stale after a dup2 or close_range behind our
// back. Whoever uses an entry compares the identity first. Lock-free, safe in signal handlers, usable in any
// thread.
#ifndef PRELOAD_FD_TABLE_H_
#define PRELOAD_FD_TABLE_H_

#include <sys/stat.h>

#include <atomic>
#include <cstdint>

#include "preload/paths.h"

namespace nvshim::preload {

// Tells files apart that take the same fd number one after the other: from st_dev, st_ino and the file type.
// Never 0.
inline uint32_t IdentityOf(const struct stat& status) {
  uint64_t mix = status.st_ino * 0x9e3779b97f4a7c15u;
  mix ^= (status.st_dev + (uint64_t{status.st_mode & S_IFMT} << 32)) * 0xc2b2ae3d27d4eb4fu;
  const uint32_t identity = static_cast<uint32_t>(mix ^ (mix >> 32));
  return identity == 0 ? 1 : identity;
}

// Identity of an open fd, 0 when it is not open.
uint32_t IdentityOfFd(int fd);

class FdTable {
 public:
  // Programs with more descriptors than this exist (servers); their high ones are recognised anew at each
  // call.
  static constexpr uint32_t kSize = 65536;

  // Values of the byte. The classes of devices have the numbers of DeviceClass.
  static constexpr uint8_t kUnknown = 0;         // foreign, or not looked at yet
  static constexpr uint8_t kPrivate = 255;       // the channel or the doorbell: invisible to the host program
  static constexpr uint8_t kDoorbellPage = 254;  // to be mapped, and its mappings watched; else foreign

  struct Entry {
    uint8_t byte = kUnknown;
    uint32_t identity = 0;
    uint32_t file_id = 0;
  };

  constexpr FdTable() = default;

  // The pass-through path: one relaxed load. kUnknown for numbers outside the table.
  uint8_t Byte(int fd) const {
    if (static_cast<uint32_t>(fd) >= kSize) return kUnknown;
    return bytes_[fd].load(std::memory_order_relaxed);
  }

  Entry Get(int fd) const;
  void Set(int fd, const Entry& entry);
  void Clear(int fd);

  // Forgets everything, touching only what was ever set. For a forked child.
  void Reset();

 private:
  std::atomic<uint8_t> bytes_[kSize] = {};
  std::atomic<uint64_t> files_[kSize] = {};  // identity << 32 | file_id, valid where the byte is not kUnknown
  std::atomic<uint32_t> end_{0};             // one past the highest fd ever set
};

}  // namespace nvshim::preload

#endif  // PRELOAD_FD_TABLE_H_
