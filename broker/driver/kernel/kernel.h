// The system calls on NVIDIA's device files, and what of /proc and /sys the kernel driver reads: a table, so
// that a fake kernel can stand in its place. From any thread.
#ifndef BROKER_DRIVER_KERNEL_KERNEL_H_
#define BROKER_DRIVER_KERNEL_KERNEL_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_set.h"

namespace nvshim::broker::kernel {

class Kernel {
 public:
  virtual ~Kernel() = default;

  // A close-on-exec descriptor of the device file `path`, or a negative errno. Blocks while a GPU is
  // initialised.
  virtual int Open(const std::string& path, int flags) = 0;

  // One ioctl; `argument` points to its struct, with pointers to other buffers inside. 0 or an errno.
  virtual int Ioctl(int fd, uint32_t request, void* argument) = 0;

  virtual void Close(int fd) = 0;

  // What a file below /proc or /sys says; nothing when it cannot be read.
  virtual std::optional<std::string> Read(const std::string& path) = 0;

  // The names in a folder; empty when there is none.
  virtual std::vector<std::string> List(const std::string& path) = 0;

  // From now on Held tells whether anybody has the open file behind `fd`: as a descriptor, as a mapping, in
  // any process. The caller closes its own. False when the machine is short of memory.
  virtual bool Watch(int fd, uint64_t id) = 0;

  // The ids given to Watch whose open files are not gone.
  virtual absl::flat_hash_set<uint64_t> Held() = 0;
};

}  // namespace nvshim::broker::kernel

#endif  // BROKER_DRIVER_KERNEL_KERNEL_H_
