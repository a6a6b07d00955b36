#include "preload/host_memory.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>

#include "preload/guard.h"
#include "preload/syscalls.h"

namespace nvshim::preload {

namespace {

constexpr uint64_t kPageBytes = 4096;

// ---- What may be swapped ----

// Frames below the caller's that a swap needs, system calls and signal frames included.
constexpr uint64_t kStackBelowBytes = 64 << 10;
// Above the stack pointer where nothing tells how far the stack goes: libcuda's frames and its caller's.
constexpr uint64_t kStackAboveBytes = 256 << 10;

// True when [begin, end) of `mapping` has pages of this thread's stack. They are in use while they would be
// swapped, and in the first moments of a forked child by two processes.
bool IsOwnStack(const Mapping& mapping, uint64_t begin, uint64_t end) {
  const uint64_t stack = reinterpret_cast<uint64_t>(__builtin_frame_address(0));
  if (stack < mapping.begin || stack >= mapping.end) return false;
  uint64_t thread;  // glibc keeps its thread descriptor at the upper end of a thread's stack
  asm("mov %%fs:0, %0" : "=r"(thread));
  const uint64_t top =
      thread > stack && thread < mapping.end ? thread + kPageBytes : stack + kStackAboveBytes;
  return begin < top && end > stack - kStackBelowBytes;
}

// True when [begin, end) has a page that glibc's malloc itself writes to in a forked child, before any
// handler of ours: the head of an arena, recognised by its pointer to what follows it. glibc aligns them.
bool HasArenaHead(uint64_t begin, uint64_t end) {
  constexpr uint64_t kAlignment = 64 << 20;  // HEAP_MAX_SIZE of glibc's malloc, or a multiple of it
  constexpr uint64_t kHeaderBytesMax = 64;   // sizeof(heap_info): 32, since 2.35 48
  for (uint64_t head = (begin + kAlignment - 1) & ~(kAlignment - 1); head < end; head += kAlignment) {
    uint64_t arena;
    // SAFETY: a readable mapping of this process; the caller has just read that it is there.
    std::memcpy(&arena, reinterpret_cast<const void*>(head), sizeof(arena));
    if (arena > head && arena <= head + kHeaderBytesMax) return true;
  }
  return false;
}

// True when no page of the mapped file has ever been written to, here or by who shares it.
bool IsUntouched(uint64_t begin, uint64_t end) {
  uint8_t resident[1024];
  while (begin < end) {
    const uint64_t size_bytes = std::min<uint64_t>(end - begin, sizeof(resident) * kPageBytes);
    if (Syscall(SYS_mincore, begin, size_bytes, resident) != 0) return false;
    for (uint64_t i = 0; i < size_bytes / kPageBytes; ++i)
      if ((resident[i] & 1) != 0) return false;
    begin += size_bytes;
  }
  return true;
}

uint32_t StatusOfNew(const Mapping& mapping, uint64_t begin, uint64_t end) {
  if (mapping.kind == MappingKind::kOther || (mapping.protection & PROT_EXEC) != 0)
    return NV_ERR_NOT_SUPPORTED;
  if (mapping.kind == MappingKind::kSharedAnonymous)
    return IsUntouched(begin, end) ? NV_OK : NV_ERR_NOT_SUPPORTED;
  return IsOwnStack(mapping, begin, end) || HasArenaHead(begin, end) ? NV_ERR_NOT_SUPPORTED : NV_OK;
}

// ---- fork ----

// Between the handlers of one fork, on the thread that forks: the child writes a byte when it has its copies,
// and hangs up when it dies before.
constinit thread_local int g_fork_pipe[2] = {-1, -1};

// A child that another thread made without handlers (clone) in the same moment holds the pipe as well, and
// hides the hang-up. A gigabyte is copied in about a second.
constexpr int kForkTimeoutMs = 10'000;

void ClosePipe(int end) {
  if (g_fork_pipe[end] >= 0) CloseFd(g_fork_pipe[end]);
  g_fork_pipe[end] = -1;
}

// Replaces a mapping by private memory with the same contents. Without memory for that it becomes
// inaccessible: what the child wrote would reach its parent.
void CopyMapping(const Mapping& mapping) {
  const uint64_t size_bytes = mapping.end - mapping.begin;
  const long copy = Syscall(SYS_mmap, 0, size_bytes, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_POPULATE, -1, 0);
  const bool readable = (mapping.protection & PROT_READ) != 0 ||
                        Syscall(SYS_mprotect, mapping.begin, size_bytes, PROT_READ) == 0;
  if ((copy > 0 || copy < -4095) && readable) {
    // SAFETY: both are mappings of this size, and this is the only thread.
    std::memcpy(reinterpret_cast<void*>(copy), reinterpret_cast<const void*>(mapping.begin), size_bytes);
    Syscall(SYS_mprotect, copy, size_bytes, mapping.protection);
    if (Syscall(SYS_mremap, copy, size_bytes, size_bytes, MREMAP_MAYMOVE | MREMAP_FIXED, mapping.begin) ==
        static_cast<long>(mapping.begin))
      return;
    Syscall(SYS_munmap, copy, size_bytes);
  }
  Syscall(SYS_mmap, mapping.begin, size_bytes, PROT_NONE,
          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
}

uint64_t InodeOf(int fd) {
  struct stat status;
  return FstatFd(fd, &status) ? status.st_ino : 0;
}

}  // namespace

// ---- Turns ----

bool HostMemory::BeginTurn() {
  const uint32_t self = static_cast<uint32_t>(Syscall(SYS_gettid));
  const int64_t deadline_ns = MonotonicNs() + kTurnTimeoutNs;
  for (;;) {
    uint32_t holder = 0;
    if (turn_.compare_exchange_strong(holder, self, std::memory_order_acquire)) return true;
    if (holder == self || MonotonicNs() > deadline_ns) return false;
    FutexWait(&turn_, holder, FUTEX_PRIVATE_FLAG, kTurnTimeoutNs);
  }
}

void HostMemory::EndTurn() {
  turn_.store(0, std::memory_order_release);
  FutexWake(&turn_, 1, FUTEX_PRIVATE_FLAG);
}

// ---- The table ----

uint32_t HostMemory::Find(uint64_t inode) const {
  for (uint32_t i = 0; i < abi::kHostFilesMax; ++i) {
    const uint64_t entry = entries_[i].load(std::memory_order_relaxed);
    if (entry != 0 && (entry & ~kPrivate) == inode) return i;
  }
  return kNotFound;
}

bool HostMemory::Add(uint64_t entry) {
  for (std::atomic<uint64_t>& slot : entries_) {
    if (slot.load(std::memory_order_relaxed) != 0) continue;
    slot.store(entry, std::memory_order_release);  // only the holder of the turn adds
    return true;
  }
  return false;
}

bool HostMemory::AnyPrivate() const {
  return std::any_of(std::begin(entries_), std::end(entries_), [](const std::atomic<uint64_t>& slot) {
    return (slot.load(std::memory_order_acquire) & kPrivate) != 0;
  });
}

// ---- Plan ----

uint32_t HostMemory::AddPiece(const Mapping& mapping, uint64_t begin, uint64_t end, bool read_only,
                              HostMemoryPlan* plan) const {
  const int needed = read_only ? PROT_READ : PROT_READ | PROT_WRITE;
  if ((mapping.protection & needed) != needed) return NV_ERR_INVALID_ADDRESS;
  if (plan->count == abi::kHostPiecesMax) return NV_ERR_INSUFFICIENT_RESOURCES;
  plan->protections[plan->count] = mapping.protection;
  abi::HostPiece& piece = plan->pieces[plan->count++];
  if (mapping.shared && mapping.inode != 0 && Find(mapping.inode) != kNotFound) {
    piece = {mapping.inode, mapping.offset + (begin - mapping.begin), end - begin};
    return NV_OK;
  }
  piece = {0, begin, end - begin};
  const bool is_private = mapping.kind == MappingKind::kAnonymous;
  // One host file is either private in a child or shared with it.
  if (plan->any_new && plan->new_is_private != is_private) return NV_ERR_NOT_SUPPORTED;
  plan->any_new = true;
  plan->new_is_private = is_private;
  return StatusOfNew(mapping, begin, end);
}

// Host files that are mapped nowhere any more.
void HostMemory::AddForgotten(const bool* mapped, HostMemoryPlan* plan) {
  for (uint32_t i = 0; i < abi::kHostFilesMax && plan->count < abi::kHostPiecesMax; ++i) {
    const uint64_t entry = entries_[i].load(std::memory_order_relaxed);
    if (entry == 0 || mapped[i]) continue;
    plan->pieces[plan->count++] = {entry & ~kPrivate, 0, 0};
    entries_[i].store(0, std::memory_order_release);
  }
}

uint32_t HostMemory::Plan(uint64_t address, uint64_t size_bytes, bool read_only, HostMemoryPlan* plan) {
  const uint64_t end = address + size_bytes;
  if (size_bytes == 0 || (address | size_bytes) % kPageBytes != 0 || end > abi::kHostFileBytes ||
      end < address)
    return NV_ERR_INVALID_ADDRESS;
  plan->address = address;
  bool mapped[abi::kHostFilesMax] = {};
  uint64_t covered = address;  // everything from `address` to here is planned
  MapReader reader;
  for (Mapping mapping; reader.Next(&mapping);) {
    if (mapping.shared && mapping.inode != 0)
      if (const uint32_t index = Find(mapping.inode); index != kNotFound) mapped[index] = true;
    if (mapping.end <= covered || mapping.begin > covered || covered == end) continue;
    const uint64_t piece_end = std::min(mapping.end, end);
    if (const uint32_t status = AddPiece(mapping, covered, piece_end, read_only, plan); status != NV_OK)
      return status;
    covered = piece_end;
  }
  if (covered != end) return NV_ERR_INVALID_ADDRESS;
  if (plan->any_new && plan->new_is_private && !plan->swap.Open()) return NV_ERR_NOT_SUPPORTED;
  AddForgotten(mapped, plan);
  return NV_OK;
}

bool HostMemory::Take(HostMemoryPlan& plan, int fd) {
  const uint64_t inode = InodeOf(fd);
  // Known before the first page is swapped: another thread may fork at any time.
  if (inode == 0 || (inode & kPrivate) != 0 || !Add(inode | (plan.new_is_private ? kPrivate : 0)))
    return false;
  uint64_t address = plan.address;
  for (uint32_t i = 0; i < plan.count; ++i) {
    const abi::HostPiece& piece = plan.pieces[i];
    if (piece.inode == 0) {
      const bool taken = plan.new_is_private
                             ? plan.swap.Swap(address, piece.size_bytes, plan.protections[i], fd)
                             : MapFile(address, piece.size_bytes, plan.protections[i], fd);
      if (!taken) return false;
    }
    address += piece.size_bytes;
  }
  return true;
}

// ---- fork ----

void HostMemory::BeforeFork() {
  if (!AnyPrivate()) return;
  // Without a pipe the parent does not wait, and the child's copies are of a moment a little later.
  if (Syscall(SYS_pipe2, g_fork_pipe, O_CLOEXEC) != 0) g_fork_pipe[0] = g_fork_pipe[1] = -1;
}

void HostMemory::AfterForkInParent() {
  if (g_fork_pipe[0] < 0) return;
  ClosePipe(1);
  pollfd done = {.fd = g_fork_pipe[0], .events = POLLIN, .revents = 0};
  const int64_t deadline_ns = MonotonicNs() + int64_t{kForkTimeoutMs} * 1'000'000;
  while (Syscall(SYS_poll, &done, 1, kForkTimeoutMs) == -EINTR && MonotonicNs() < deadline_ns) continue;
  ClosePipe(0);
}

void HostMemory::AfterForkInChild() {
  MakePrivate();
  if (g_fork_pipe[1] >= 0) Syscall(SYS_write, g_fork_pipe[1], "", 1);
  ClosePipe(0);
  ClosePipe(1);
}

void HostMemory::MakePrivate() {
  turn_.store(0, std::memory_order_relaxed);
  if (AnyPrivate()) {
    MapReader reader;  // goes on behind what it has returned; what changes there does not matter
    for (Mapping mapping; reader.Next(&mapping);) {
      if (!mapping.shared || mapping.inode == 0) continue;
      const uint32_t index = Find(mapping.inode);
      if (index != kNotFound && (entries_[index].load(std::memory_order_relaxed) & kPrivate) != 0)
        CopyMapping(mapping);
    }
  }
  for (std::atomic<uint64_t>& slot : entries_) slot.store(0, std::memory_order_relaxed);
}

}  // namespace nvshim::preload
