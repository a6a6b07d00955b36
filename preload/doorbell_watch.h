// Tells the worker about stores to doorbell pages of a simulated GPU, so that the GPU sleeps while nobody
// stores: a hardware GPU sees the store itself, a simulated one would have to look again and again.
//
// One thread per session, made with the first page. When the worker asks (doorbell_state of the region), it
// write-protects the pages with userfaultfd; the first store faults, and the thread lifts the protection and
// rings. The thread is the kernel's only: libc does not know it, so it keeps no process from ending. All
// signals are blocked in it, it has no capabilities, and its descriptor table is its own, which no close of
// the program reaches. Where any of this is refused, the state stays kDoorbellNone and the simulated GPU
// looks by itself.
#ifndef PRELOAD_DOORBELL_WATCH_H_
#define PRELOAD_DOORBELL_WATCH_H_

#include <atomic>
#include <cstdint>

#include "preload/fd_table.h"
#include "preload/guard.h"

namespace nvshim::preload {

class DoorbellWatch {
 public:
  DoorbellWatch() = default;

  // `state` is the region's word; `bell_fd` wakes the worker; `fds` learns of a descriptor to hide. All
  // outlive this object, which is never destroyed while its thread may run.
  void Open(std::atomic<uint32_t>* state, int bell_fd, FdTable* fds);

  // A doorbell page was mapped at `address`. Any thread.
  void Add(uint64_t address, uint64_t size_bytes);

  // A forked child has neither the thread nor the pages' protection: drops its copy of the descriptor.
  void CloseInChild();

 private:
  // One page per GPU and context library; what does not fit is not watched, and then nothing is.
  static constexpr uint32_t kPagesMax = 16;
  static constexpr size_t kStackSizeBytes = 16 << 10;
  static constexpr size_t kThreadLocalSizeBytes = 256;

  struct Page {
    uint64_t address = 0, size_bytes = 0;
  };

  bool Start();
  static void Main(void* watch);
  void Run();
  bool OpenFault();
  bool Protect();
  void SetOpen();
  void LiftProtection();
  void Wait();

  std::atomic<uint32_t>* state_ = nullptr;
  int bell_fd_ = -1;
  FdTable* fds_ = nullptr;
  FutexLock lock_;  // over what follows
  bool started_ = false, unable_ = false;
  uint32_t page_count_ = 0;
  Page pages_[kPagesMax] = {};
  int kick_fd_ = -1;  // eventfd: ends the thread's wait for a fault; in both descriptor tables
  uint32_t kick_identity_ = 0;

  int fault_fd_ = -1;  // the userfaultfd, in the thread's own descriptor table

  // The thread's memory. Code of this library reads no thread-local, but a stack protector looks for its
  // guard above the thread pointer.
  alignas(64) uint8_t thread_local_[kThreadLocalSizeBytes] = {};
  alignas(64) uint8_t stack_[kStackSizeBytes];  // not initialised: none of it is touched without a thread
};

}  // namespace nvshim::preload

#endif  // PRELOAD_DOORBELL_WATCH_H_
