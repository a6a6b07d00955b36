// Puts pages of a file in place of pages of private memory, with nothing lost that other threads write
// meanwhile:
//
//     write-protect the pages (userfaultfd)      a thread that writes to one now sleeps in its page fault
//     copy them into the file
//     map the file over them, in one step
//     wake the sleepers                          they repeat their write, and it lands in the file
//
// in stretches short enough that a sleeper is held up for about a millisecond. The address of a page is its
// offset in the file.
//
// Where the process may use userfaultfd only for faults of user mode (no CAP_SYS_PTRACE, and
// vm.unprivileged_userfaultfd is 0), a system call of another thread that writes into a protected page fails
// with EFAULT instead of waiting. Where it may not use it at all, and under a seccomp filter that is not
// nvshim-run's (that of containers), Open says so, and nothing is swapped.
//
// Needs Linux 5.14. The memory's huge pages and NUMA policy are not carried over; locked memory stays locked
// as far as RLIMIT_MEMLOCK allows. Any thread; signals are blocked while a stretch is protected, because a
// handler on this thread could write to it, and would sleep for ever.
#ifndef PRELOAD_PAGE_SWAP_H_
#define PRELOAD_PAGE_SWAP_H_

#include <cstdint>

namespace nvshim::preload {

class PageSwap {
 public:
  PageSwap() = default;
  ~PageSwap();
  PageSwap(const PageSwap&) = delete;
  PageSwap& operator=(const PageSwap&) = delete;

  // False when writers cannot be held off here.
  bool Open();

  // Swaps [address, address + size_bytes), whole pages of private anonymous memory mapped with `protection`.
  // False when a step failed: a first part may be swapped then, the rest is as it was, and nobody sleeps.
  bool Swap(uint64_t address, uint64_t size_bytes, int protection, int file);

 private:
  bool SwapStretch(uint64_t address, uint64_t size_bytes, int protection, int file);
  bool Protect(uint64_t address, uint64_t size_bytes);
  void Release(uint64_t address, uint64_t size_bytes);

  int userfault_ = -1;
};

// Maps the file over [address, address + size_bytes) without a copy: for memory that nobody has written to.
bool MapFile(uint64_t address, uint64_t size_bytes, int protection, int file);

}  // namespace nvshim::preload

#endif  // PRELOAD_PAGE_SWAP_H_
