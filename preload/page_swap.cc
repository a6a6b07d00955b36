#include "preload/page_swap.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "preload/filters.h"
#include "preload/guard.h"
#include "preload/syscalls.h"

namespace nvshim::preload {

namespace {

// Of newer kernels than the headers of old (asm-generic/mman-common.h).
constexpr int kMadviseCold = 20;       // MADV_COLD, Linux 5.4
constexpr int kPopulateForRead = 22;   // MADV_POPULATE_READ, 5.14
constexpr int kPopulateForWrite = 23;  // MADV_POPULATE_WRITE, 5.14

// Bytes that are protected at a time: a huge page, so that none is cut, copied in some 300 us.
constexpr uint64_t kStretchBytes = 2 << 20;

bool WriteAll(int fd, uint64_t address, uint64_t size_bytes) {
  for (uint64_t done = 0; done < size_bytes;) {
    const long written = Syscall(SYS_pwrite64, fd, address + done, size_bytes - done, address + done);
    if (written <= 0) return false;
    done += static_cast<uint64_t>(written);
  }
  return true;
}

// MADV_COLD asks for nothing but that pages be thought old, and not of locked ones.
bool IsLocked(uint64_t address, uint64_t size_bytes) {
  return Syscall(SYS_madvise, address, size_bytes, kMadviseCold) == -EINVAL;
}

}  // namespace

PageSwap::~PageSwap() {
  if (userfault_ >= 0) CloseFd(userfault_);
}

bool PageSwap::Open() {
  if (IsFiltered()) return false;
  long fd = Syscall(SYS_userfaultfd, O_CLOEXEC);
  if (fd < 0) fd = Syscall(SYS_userfaultfd, O_CLOEXEC | kUserModeOnly);
  if (fd < 0) return false;
  userfault_ = static_cast<int>(fd);
  uffdio_api api = {.api = UFFD_API, .features = UFFD_FEATURE_PAGEFAULT_FLAG_WP, .ioctls = 0};
  return Syscall(SYS_ioctl, userfault_, UFFDIO_API, &api) == 0;
}

bool PageSwap::Swap(uint64_t address, uint64_t size_bytes, int protection, int file) {
  const uint64_t end = address + size_bytes;
  while (address < end) {
    const uint64_t boundary = (address + kStretchBytes) & ~(kStretchBytes - 1);
    const uint64_t stretch_bytes = (boundary < end ? boundary : end) - address;
    if (!SwapStretch(address, stretch_bytes, protection, file)) return false;
    address += stretch_bytes;
  }
  return true;
}

bool PageSwap::SwapStretch(uint64_t address, uint64_t size_bytes, int protection, int file) {
  const SignalBlock no_handlers;
  const bool locked = IsLocked(address, size_bytes);
  // A page that does not exist yet could not be protected.
  const int populate = (protection & PROT_WRITE) != 0 ? kPopulateForWrite : kPopulateForRead;
  if (Syscall(SYS_madvise, address, size_bytes, populate) != 0) return false;
  const bool swapped = Protect(address, size_bytes) && WriteAll(file, address, size_bytes) &&
                       MapFile(address, size_bytes, protection, file);
  Release(address, size_bytes);
  if (swapped && locked) Syscall(SYS_mlock, address, size_bytes);
  return swapped;
}

bool PageSwap::Protect(uint64_t address, uint64_t size_bytes) {
  uffdio_register range = {.range = {address, size_bytes}, .mode = UFFDIO_REGISTER_MODE_WP, .ioctls = 0};
  if (Syscall(SYS_ioctl, userfault_, UFFDIO_REGISTER, &range) != 0) return false;
  uffdio_writeprotect protect = {.range = {address, size_bytes}, .mode = UFFDIO_WRITEPROTECT_MODE_WP};
  return Syscall(SYS_ioctl, userfault_, UFFDIO_WRITEPROTECT, &protect) == 0;
}

// Explicitly, not by closing: a child that another thread forks meanwhile has a copy of the descriptor. After
// a swap the range is not registered any more, and only the wake-up remains to be done.
void PageSwap::Release(uint64_t address, uint64_t size_bytes) {
  uffdio_range range = {address, size_bytes};
  uffdio_writeprotect protect = {.range = range, .mode = 0};
  Syscall(SYS_ioctl, userfault_, UFFDIO_WRITEPROTECT, &protect);
  Syscall(SYS_ioctl, userfault_, UFFDIO_UNREGISTER, &range);
  Syscall(SYS_ioctl, userfault_, UFFDIO_WAKE, &range);
}

bool MapFile(uint64_t address, uint64_t size_bytes, int protection, int file) {
  return Syscall(SYS_mmap, address, size_bytes, protection, MAP_SHARED | MAP_FIXED, file, address) ==
         static_cast<long>(address);
}

}  // namespace nvshim::preload
