#include "preload/fd_table.h"

#include "preload/syscalls.h"

namespace nvshim::preload {

uint32_t IdentityOfFd(int fd) {
  struct stat status;
  return FstatFd(fd, &status) ? IdentityOf(status) : 0;
}

FdTable::Entry FdTable::Get(int fd) const {
  if (static_cast<uint32_t>(fd) >= kSize) return {};
  Entry entry;
  entry.byte = bytes_[fd].load(std::memory_order_acquire);  // pairs with the release in Set
  const uint64_t file = files_[fd].load(std::memory_order_relaxed);
  entry.identity = static_cast<uint32_t>(file >> 32);
  entry.file_id = static_cast<uint32_t>(file);
  return entry;
}

void FdTable::Set(int fd, const Entry& entry) {
  if (static_cast<uint32_t>(fd) >= kSize) return;
  files_[fd].store(uint64_t{entry.identity} << 32 | entry.file_id, std::memory_order_relaxed);
  bytes_[fd].store(entry.byte, std::memory_order_release);  // pairs with the acquire in Get
  uint32_t end = end_.load(std::memory_order_relaxed);
  while (end <= static_cast<uint32_t>(fd) &&
         !end_.compare_exchange_weak(end, static_cast<uint32_t>(fd) + 1, std::memory_order_relaxed)) {
  }
}

void FdTable::Clear(int fd) {
  if (static_cast<uint32_t>(fd) >= kSize) return;
  bytes_[fd].store(kUnknown, std::memory_order_relaxed);
}

void FdTable::Reset() {
  const uint32_t end = end_.exchange(0, std::memory_order_relaxed);
  for (uint32_t fd = 0; fd < end; ++fd)
    if (bytes_[fd].load(std::memory_order_relaxed) != kUnknown)
      bytes_[fd].store(kUnknown, std::memory_order_relaxed);
}

}  // namespace nvshim::preload
