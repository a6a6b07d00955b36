// Memory of guest processes that a GPU is to see: the host files whose pages stand in for theirs, and what of
// them a registration (class NV01_MEMORY_SYSTEM_OS_DESCRIPTOR) covers, as one contiguous window of this
// process. proto/abi/host_piece.h says how a guest describes a range. For any driver: the simulated one reads
// and writes the window, one that drives hardware has it pinned. Runs under the driver's lock.
//
// What a guest can do with a list of pieces is to name pages of files that were made for itself, in an order
// that makes no sense; the files are sealed against shrinking, so a window never faults.
#ifndef BROKER_DRIVER_HOST_MEMORY_H_
#define BROKER_DRIVER_HOST_MEMORY_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/container/flat_hash_map.h"

namespace nvshim::broker {

// Host files of all guests of one driver: eight processes that register as many buffers as they may. Each
// costs a descriptor.
inline constexpr size_t kHostFilesAliveMax = 8192;
// Their mappings in this process, out of 65530 (vm.max_map_count).
inline constexpr size_t kHostMappingsMax = 16384;

// Of one driver; so that the two bounds above hold over all its guests.
struct HostMemoryCount {
  size_t files = 0;
  size_t mappings = 0;
};

// A sparse memfd of abi::kHostFileBytes.
class HostFile {
 public:
  // Null with errno set when the machine is short of descriptors, or at the limit.
  static std::shared_ptr<HostFile> Make(HostMemoryCount& count);
  HostFile(int fd, uint64_t inode, HostMemoryCount& count) : fd_(fd), inode_(inode), count_(count) {
    ++count_.files;
  }
  HostFile(const HostFile&) = delete;
  HostFile& operator=(const HostFile&) = delete;
  ~HostFile();

  int fd() const { return fd_; }
  uint64_t inode() const { return inode_; }
  // A new descriptor for the caller, or -1 with errno.
  int Duplicate() const;

 private:
  const int fd_;
  const uint64_t inode_;
  HostMemoryCount& count_;
};

// The pages of one registration, in order. Keeps their files alive.
class HostRange {
 public:
  struct Piece {
    std::shared_ptr<HostFile> file;
    uint64_t offset;
    uint64_t size_bytes;
  };

  HostRange(std::vector<Piece> pieces, HostMemoryCount& count) : pieces_(std::move(pieces)), count_(count) {}
  HostRange(const HostRange&) = delete;
  HostRange& operator=(const HostRange&) = delete;
  ~HostRange();

  // All of it, mapped when first asked for. Empty when the machine cannot, or at the limit. The guest writes
  // to it at any time.
  std::span<uint8_t> Bytes();

 private:
  const std::vector<Piece> pieces_;
  HostMemoryCount& count_;
  std::span<uint8_t> bytes_;
};

// The host files of one guest process: of one RM file to which its clients belong. A file is kept while the
// process may name it again, that is until it says that the last mapping is gone, or ends.
class HostFiles {
 public:
  explicit HostFiles(HostMemoryCount& count) : count_(count) {}

  struct Registration {
    int error;                         // errno, 0 = registered
    std::shared_ptr<HostRange> range;  // valid with error 0
    std::shared_ptr<HostFile> made;    // goes to the guest; null when no piece was new
  };

  // Registers what `list`, an array of abi::HostPiece, describes. EINVAL when it is no list of pages that
  // come to `size_bytes` and overlap nowhere; ENOENT when it names a file that is not kept here; ENOSPC when
  // abi::kHostFilesMax are kept; other errors are the machine's.
  Registration Register(std::span<const uint8_t> list, uint64_t size_bytes);

  // Keeps a file that somebody else made, unless it is kept already. Takes `fd` over.
  void Adopt(int fd);

  // The guest will not hear of a file that was made.
  void Forget(const HostFile& made) { files_.erase(made.inode()); }

  // The NV_STATUS that a driver has for the error of a Registration; not for 0.
  static uint32_t StatusOf(int error);

  size_t size() const { return files_.size(); }

 private:
  HostMemoryCount& count_;
  absl::flat_hash_map<uint64_t, std::shared_ptr<HostFile>> files_;  // by inode
};

}  // namespace nvshim::broker

#endif  // BROKER_DRIVER_HOST_MEMORY_H_
