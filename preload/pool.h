// Hands out room in the region's data pool, for buffers that are too large for a lane's ring. The book is
// this process's own; the worker only sees offsets. Runs of pages, first fit, under a lock: large calls are
// rare and take milliseconds in the driver.
#ifndef PRELOAD_POOL_H_
#define PRELOAD_POOL_H_

#include <atomic>
#include <cstdint>

#include "preload/guard.h"
#include "proto/wire/region.h"

namespace nvshim::preload {

class Pool {
 public:
  static constexpr uint32_t kNoRoom = 0xffffffff;

  constexpr Pool() = default;

  // The offset of `size_bytes` (at least 1) that nobody else uses, 4096-aligned. Waits for other calls to
  // end, but not longer than a few seconds; then, and when the pool is smaller than that, kNoRoom.
  uint32_t Allocate(uint32_t size_bytes);
  void Free(uint32_t offset, uint32_t size_bytes);

 private:
  static constexpr uint32_t kPageCount = wire::kPoolSizeBytes / wire::kPageSizeBytes;

  uint32_t TryAllocate(uint32_t pages);
  void Mark(uint32_t first, uint32_t pages, bool used);

  FutexLock lock_;
  bool used_[kPageCount] = {};
  std::atomic<uint32_t> frees_{0};  // counts Free; those who wait for room sleep on it
  std::atomic<uint32_t> waiters_{0};
};

}  // namespace nvshim::preload

#endif  // PRELOAD_POOL_H_
