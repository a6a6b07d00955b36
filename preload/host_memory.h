// Memory of the host program that a GPU is to see (class NV01_MEMORY_SYSTEM_OS_DESCRIPTOR; libcuda asks for
// it in cuMemHostRegister and for buffers of its own). The driver behind the worker cannot reach the pages of
// this process, so they are swapped for pages of a host file that the worker makes (proto/abi/host_piece.h).
// Swapped memory stays swapped: to register it again costs no copy.
//
//   private anonymous memory    swapped (preload/page_swap.h). A forked child gets a private copy, and fork
//                               returns in the parent when it has it
//   shared anonymous memory     mapped, when nothing was ever written to it: libcuda's own buffers. With
//                               contents it may be shared with other processes, and is refused
//   pages of our host files     known already
//   all else                    refused: files, devices, huge pages, code, the calling thread's stack
//
// The table of host files is lock-free and of fixed size. Registrations take turns.
#ifndef PRELOAD_HOST_MEMORY_H_
#define PRELOAD_HOST_MEMORY_H_

#include <atomic>
#include <cstdint>

#include "preload/memory_map.h"
#include "preload/page_swap.h"
#include "proto/abi/host_piece.h"

namespace nvshim::preload {

// Statuses of nvstatuscodes.h, and the CUDA error that libcuda makes of them in cuMemHostRegister.
inline constexpr uint32_t NV_OK = 0;
inline constexpr uint32_t NV_ERR_INSUFFICIENT_RESOURCES = 0x1a;  // out of memory
inline constexpr uint32_t NV_ERR_INVALID_ADDRESS = 0x1e;         // invalid value; what the driver says, too
inline constexpr uint32_t NV_ERR_NO_MEMORY = 0x51;               // out of memory
inline constexpr uint32_t NV_ERR_NOT_SUPPORTED = 0x56;           // not supported

// What to do about one range. Some 3 KiB, for the stack.
struct HostMemoryPlan {
  uint32_t count = 0;
  abi::HostPiece pieces[abi::kHostPiecesMax];
  int protections[abi::kHostPiecesMax];  // PROT_* of each
  uint64_t address = 0;                  // of the first piece of the range
  bool any_new = false;                  // then one host file takes all new pieces
  bool new_is_private = false;           // they are of private memory, and `swap` is open
  PageSwap swap;
};

class HostMemory {
 public:
  constexpr HostMemory() = default;

  // Registrations take turns from Plan to Take, over the call to the worker, because a page that two of them
  // share must become one page of one file. False when the turn does not come in kTurnTimeoutNs, and in a
  // signal handler that interrupted a registration of the same thread.
  bool BeginTurn();
  void EndTurn();

  // Plans the registration of [address, address + size_bytes). Returns the status to answer: NV_OK,
  // NV_ERR_INVALID_ADDRESS for what is not whole mapped pages that can be read, and written unless
  // `read_only`, NV_ERR_NOT_SUPPORTED for memory that is refused, NV_ERR_INSUFFICIENT_RESOURCES for too many
  // pieces.
  uint32_t Plan(uint64_t address, uint64_t size_bytes, bool read_only, HostMemoryPlan* plan);

  // Puts the new pieces of `plan` into the host file `fd`. False when that fails; what was swapped until then
  // stays so, and is known.
  bool Take(HostMemoryPlan& plan, int fd);

  // The three sides of fork, called by the handlers of process.cc on the forking thread.
  void BeforeFork();
  void AfterForkInParent();
  void AfterForkInChild();

  // Gives a child with memory of its own private copies of what was private, and forgets all files.
  void MakePrivate();

 private:
  static constexpr uint64_t kPrivate = uint64_t{1} << 63;  // beside the inode: swapped from private memory

  // The index of the host file, or kNotFound.
  static constexpr uint32_t kNotFound = ~0u;
  uint32_t Find(uint64_t inode) const;
  bool Add(uint64_t entry);
  bool AnyPrivate() const;
  uint32_t AddPiece(const Mapping& mapping, uint64_t begin, uint64_t end, bool read_only,
                    HostMemoryPlan* plan) const;
  void AddForgotten(const bool* mapped, HostMemoryPlan* plan);

  // Registering is rare and takes milliseconds a stretch; who waits longer waits for a thread that left its
  // ioctl by longjmp.
  static constexpr int64_t kTurnTimeoutNs = 10'000'000'000;

  std::atomic<uint64_t> entries_[abi::kHostFilesMax] = {};  // 0: free
  std::atomic<uint32_t> turn_{0};                           // thread id, 0: nobody's
};

}  // namespace nvshim::preload

#endif  // PRELOAD_HOST_MEMORY_H_
