#include "preload/mappable.h"

#include "preload/syscalls.h"

namespace nvshim::preload {

void MappableFiles::Keep(uint32_t file_id, int fd) {
  Drop(file_id);
  for (std::atomic<uint64_t>& slot : slots_) {
    uint64_t free = 0;
    if (slot.compare_exchange_strong(free, Pack(file_id, fd), std::memory_order_acq_rel)) return;
  }
  CloseFd(fd);
}

int MappableFiles::Find(uint32_t file_id) const {
  for (const std::atomic<uint64_t>& slot : slots_) {
    const uint64_t value = slot.load(std::memory_order_acquire);
    if (value != 0 && FileOf(value) == file_id) return FdOf(value);
  }
  return -1;
}

void MappableFiles::Drop(uint32_t file_id) {
  for (std::atomic<uint64_t>& slot : slots_) {
    uint64_t value = slot.load(std::memory_order_acquire);
    if (value == 0 || FileOf(value) != file_id) continue;
    // Whoever takes the value out closes it.
    if (slot.compare_exchange_strong(value, 0, std::memory_order_acq_rel)) CloseFd(FdOf(value));
  }
}

void MappableFiles::DropAll() {
  for (std::atomic<uint64_t>& slot : slots_)
    if (const uint64_t value = slot.exchange(0, std::memory_order_acq_rel); value != 0) CloseFd(FdOf(value));
}

}  // namespace nvshim::preload
