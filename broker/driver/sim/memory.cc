// The only file of the simulated driver that makes system calls for memory.
#include "broker/driver/sim/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <utility>

#include "broker/driver/sealed_memfd.h"
#include "broker/driver/sim/limits.h"

namespace nvshim::broker::sim {

VideoCharge::VideoCharge(VideoHeap& heap, uint64_t size_bytes) {
  if (size_bytes > heap.free_bytes()) return;
  heap_ = &heap;
  size_ = size_bytes;
  offset_ = heap.next_offset_;
  heap.used_ += size_bytes;
  heap.next_offset_ += size_bytes;
  if (heap.next_offset_ >= heap.size_) heap.next_offset_ = 0;
}

VideoCharge::VideoCharge(VideoCharge&& other) noexcept
    : heap_(std::exchange(other.heap_, nullptr)), size_(other.size_), offset_(other.offset_) {}

VideoCharge& VideoCharge::operator=(VideoCharge&& other) noexcept {
  std::swap(heap_, other.heap_);
  std::swap(size_, other.size_);
  std::swap(offset_, other.offset_);
  return *this;
}

VideoCharge::~VideoCharge() {
  if (heap_ != nullptr) heap_->used_ -= size_;
}

std::shared_ptr<Backing> Backing::Make(uint64_t size_bytes, BackingCount& count) {
  if (count.alive >= kBackingsMax) {
    errno = EMFILE;
    return nullptr;
  }
  const uint64_t rounded = (size_bytes + 4095) & ~uint64_t{4095};
  const int fd = MakeSealedMemfd("nvshim-sim", rounded);
  return fd < 0 ? nullptr : std::make_shared<Backing>(fd, count);
}

Backing::~Backing() {
  close(fd_);
  --count_.alive;
}

int Backing::Duplicate() const { return fcntl(fd_, F_DUPFD_CLOEXEC, 0); }

HostWindow::HostWindow(const Backing& backing, uint64_t offset, uint64_t size_bytes, BackingCount& count) {
  if (count.windows >= kWindowsMax) return;
  // Not reserved: what counts is what the guest has touched, and that is in the memfd already.
  void* at = mmap(nullptr, size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, backing.fd(),
                  static_cast<off_t>(offset));
  if (at == MAP_FAILED) return;
  bytes_ = {static_cast<uint8_t*>(at), static_cast<size_t>(size_bytes)};
  count_ = &count;
  ++count.windows;
}

HostWindow::HostWindow(HostWindow&& other) noexcept
    : bytes_(std::exchange(other.bytes_, {})), count_(std::exchange(other.count_, nullptr)) {}

HostWindow& HostWindow::operator=(HostWindow&& other) noexcept {
  std::swap(bytes_, other.bytes_);
  std::swap(count_, other.count_);
  return *this;
}

HostWindow::~HostWindow() {
  if (count_ == nullptr) return;
  munmap(bytes_.data(), bytes_.size());
  --count_->windows;
}

std::span<uint8_t> Memory::Bytes(BackingCount& count) {
  // Virtual memory is addresses only, and registers are not memory.
  if (type == MemoryType::kVirtual || type == MemoryType::kRegisters) return {};
  if (type == MemoryType::kHost) return host == nullptr ? std::span<uint8_t>() : host->Bytes();
  if (window.bytes().empty()) {
    if (backing == nullptr) backing = Backing::Make(size_bytes, count);
    if (backing != nullptr) window = HostWindow(*backing, backing_offset, size_bytes, count);
  }
  return window.bytes();
}

void Memory::Discard() {
  if (backing == nullptr) return;
  // Without success the bytes stay: nobody can see them who did not before.
  fallocate(backing->fd(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(backing_offset),
            static_cast<off_t>(size_bytes));
}

}  // namespace nvshim::broker::sim
