// What UVM files are mapped as. A UVM file is mapped at offset == address, many times and long after the
// ioctl that prepared it, while its fd is a placeholder that must stay one: its last close is what the broker
// sees. So the worker sends the file that can be mapped with the answer to UVM_INITIALIZE, it is kept here
// under the file's id, and mmap of the placeholder maps it instead. Lock-free, any thread.
#ifndef PRELOAD_MAPPABLE_H_
#define PRELOAD_MAPPABLE_H_

#include <atomic>
#include <cstdint>

namespace nvshim::preload {

class MappableFiles {
 public:
  // A process initialises one UVM file; two contexts of different libraries would be two.
  static constexpr int kSlots = 16;

  constexpr MappableFiles() = default;

  // Takes `fd` over for `file_id`, in place of what was kept for it. With all slots taken the fd is closed.
  void Keep(uint32_t file_id, int fd);

  // The fd to map in place of the file; -1 when there is none.
  int Find(uint32_t file_id) const;

  // Closes what is kept for the file, or for all files.
  void Drop(uint32_t file_id);
  void DropAll();

 private:
  static uint64_t Pack(uint32_t file_id, int fd) {
    return uint64_t{file_id} << 32 | static_cast<uint32_t>(fd + 1);
  }
  static uint32_t FileOf(uint64_t slot) { return static_cast<uint32_t>(slot >> 32); }
  static int FdOf(uint64_t slot) { return static_cast<int>(static_cast<uint32_t>(slot)) - 1; }

  std::atomic<uint64_t> slots_[kSlots] = {};  // 0: free
};

}  // namespace nvshim::preload

#endif  // PRELOAD_MAPPABLE_H_
