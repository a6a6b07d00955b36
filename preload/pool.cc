#include "preload/pool.h"

#include <limits.h>

namespace nvshim::preload {

namespace {
// Calls that need the pool end within milliseconds. A nested call in a signal handler may wait for the very
// call it interrupted; that one must end in an error, not never.
constexpr int64_t kRoomTimeoutNs = 5'000'000'000;
constexpr int64_t kRecheckNs = 10'000'000;

constexpr uint32_t Pages(uint32_t size_bytes) {
  return (size_bytes + wire::kPageSizeBytes - 1) / wire::kPageSizeBytes;
}
}  // namespace

uint32_t Pool::Allocate(uint32_t size_bytes) {
  if (size_bytes > wire::kPoolSizeBytes) return kNoRoom;
  const uint32_t pages = Pages(size_bytes);
  uint32_t first = TryAllocate(pages);
  if (first != kNoRoom) return first * wire::kPageSizeBytes;
  const int64_t deadline_ns = MonotonicNs() + kRoomTimeoutNs;
  waiters_.fetch_add(1, std::memory_order_seq_cst);
  while (first == kNoRoom && MonotonicNs() < deadline_ns) {
    const uint32_t seen = frees_.load(std::memory_order_acquire);
    first = TryAllocate(pages);
    if (first == kNoRoom) FutexWait(&frees_, seen, FUTEX_PRIVATE_FLAG, kRecheckNs);
  }
  waiters_.fetch_sub(1, std::memory_order_relaxed);
  return first == kNoRoom ? kNoRoom : first * wire::kPageSizeBytes;
}

uint32_t Pool::TryAllocate(uint32_t pages) {
  const LockGuard guard(lock_);
  uint32_t run = 0;
  for (uint32_t page = 0; page < kPageCount; ++page) {
    run = used_[page] ? 0 : run + 1;
    if (run < pages) continue;
    Mark(page + 1 - pages, pages, true);
    return page + 1 - pages;
  }
  return kNoRoom;
}

void Pool::Free(uint32_t offset, uint32_t size_bytes) {
  {
    const LockGuard guard(lock_);
    Mark(offset / wire::kPageSizeBytes, Pages(size_bytes), false);
  }
  frees_.fetch_add(1, std::memory_order_seq_cst);
  if (waiters_.load(std::memory_order_seq_cst) != 0) FutexWake(&frees_, INT_MAX, FUTEX_PRIVATE_FLAG);
}

void Pool::Mark(uint32_t first, uint32_t pages, bool used) {
  for (uint32_t page = first; page < first + pages; ++page) used_[page] = used;
}

}  // namespace nvshim::preload
