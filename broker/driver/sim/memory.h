// Simulated memory: how much video memory a GPU has left, and the memfd that stands behind an object once
// somebody maps it. Video memory is only counted; bytes exist from the first mapping on, sparse until
// touched. Descriptors are sealed against resizing because guests receive them. Runs under the driver's lock.
#ifndef BROKER_DRIVER_SIM_MEMORY_H_
#define BROKER_DRIVER_SIM_MEMORY_H_

#include <cstdint>
#include <memory>
#include <span>

#include "broker/driver/host_memory.h"

namespace nvshim::broker::sim {

// The heap of one GPU.
class VideoHeap {
 public:
  explicit VideoHeap(uint64_t size_bytes) : size_(size_bytes) {}
  VideoHeap(const VideoHeap&) = delete;
  VideoHeap& operator=(const VideoHeap&) = delete;

  uint64_t size_bytes() const { return size_; }
  uint64_t used_bytes() const { return used_; }
  uint64_t free_bytes() const { return size_ - used_; }

 private:
  friend class VideoCharge;
  uint64_t size_;
  uint64_t used_ = 0;
  uint64_t next_offset_ = 0;  // physical offsets handed out go round; nobody dereferences them
};

// A share of a heap, given back by the destructor.
class VideoCharge {
 public:
  VideoCharge() = default;
  // A charge that holds 0 bytes when the heap is too full for `size_bytes`.
  VideoCharge(VideoHeap& heap, uint64_t size_bytes);
  VideoCharge(VideoCharge&& other) noexcept;
  VideoCharge& operator=(VideoCharge&& other) noexcept;
  ~VideoCharge();

  explicit operator bool() const { return heap_ != nullptr; }
  uint64_t offset() const { return offset_; }  // physical, of the first byte

 private:
  VideoHeap* heap_ = nullptr;
  uint64_t size_ = 0;
  uint64_t offset_ = 0;
};

// Counts the memfds alive and their mappings in this process, so that kBackingsMax and kWindowsMax hold over
// all guests of one driver.
struct BackingCount {
  size_t alive = 0;
  size_t windows = 0;
};

// A sealed memfd.
class Backing {
 public:
  // Null with errno set when the machine is short of descriptors or `count` is at its limit.
  static std::shared_ptr<Backing> Make(uint64_t size_bytes, BackingCount& count);
  Backing(int fd, BackingCount& count) : fd_(fd), count_(count) { ++count_.alive; }
  Backing(const Backing&) = delete;
  Backing& operator=(const Backing&) = delete;
  ~Backing();

  // A new descriptor of it for the caller, or -1 with errno.
  int Duplicate() const;
  int fd() const { return fd_; }

 private:
  int fd_;
  BackingCount& count_;
};

// A part of a Backing in this process' address space. Guests write to it at any time; it cannot shrink.
class HostWindow {
 public:
  HostWindow() = default;
  // Maps [offset, offset + size_bytes) of `backing`; empty when the machine cannot, or at the limit.
  HostWindow(const Backing& backing, uint64_t offset, uint64_t size_bytes, BackingCount& count);
  HostWindow(const HostWindow&) = delete;
  HostWindow(HostWindow&& other) noexcept;
  HostWindow& operator=(HostWindow&& other) noexcept;
  ~HostWindow();

  std::span<uint8_t> bytes() const { return bytes_; }

 private:
  std::span<uint8_t> bytes_;
  BackingCount* count_ = nullptr;
};

enum class MemoryType : uint8_t { kSystem, kVideo, kVirtual, kRegisters, kHost };

// What a memory object stands for; duplicates of an object share it.
struct Memory {
  MemoryType type = MemoryType::kSystem;
  uint64_t size_bytes = 0;
  uint64_t offset = 0;  // video: physical; virtual: GPU address
  uint32_t gpu = 0;
  VideoCharge charge;
  std::shared_ptr<void> reservation;  // of virtual memory: keeps its place in an address space
  std::shared_ptr<Backing> backing;   // null until mapped
  uint64_t backing_offset = 0;        // of the first byte; not 0 in files that span an address space
  HostWindow window;                  // empty until the engine asks
  std::shared_ptr<HostRange> host;    // of kHost, in place of backing and window

  // What the engine sees of it, from the first byte to the last; empty when it has no bytes, or the machine
  // is short of descriptors or address space.
  std::span<uint8_t> Bytes(BackingCount& count);

  // Makes its bytes 0 and gives them back to the machine; for parts of a file that others see too.
  void Discard();
};

inline constexpr uint64_t kUserModeRegionBytes = 64 << 10;  // the doorbell page of a *_USERMODE_A object

}  // namespace nvshim::broker::sim

#endif  // BROKER_DRIVER_SIM_MEMORY_H_
