// Everything here goes by the kernel's documentation of userfaultfd(2), clone(2) and close_range(2).
#include "preload/doorbell_watch.h"

#include <errno.h>
#include <linux/capability.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>

#include <cstring>

#include "preload/filters.h"
#include "preload/syscalls.h"
#include "proto/wire/region.h"

namespace nvshim::preload {

namespace {

// Starts a thread with its stack's end at `stack_end` and its thread pointer at `thread_pointer`. It calls
// `entry(argument)` and ends. Returns its id, or a negative errno.
long StartThread(void* stack_end, void* thread_pointer, void (*entry)(void*), void* argument) {
  void** top = static_cast<void**>(stack_end);
  *--top = reinterpret_cast<void*>(entry);
  *--top = argument;
  constexpr long kFlags =
      CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | CLONE_SETTLS;
  long result;
  register long r10 asm("r10") = 0;
  register void* r8 asm("r8") = thread_pointer;
  // SAFETY: the child returns from the system call on its own stack, takes its two words off it, so that the
  // stack is aligned for a call, and never comes back.
  asm volatile(
      "syscall\n\t"
      "test %%rax, %%rax\n\t"
      "jnz 1f\n\t"
      "xor %%ebp, %%ebp\n\t"
      "pop %%rdi\n\t"
      "pop %%rax\n\t"
      "call *%%rax\n\t"
      "mov %[exit], %%eax\n\t"
      "xor %%edi, %%edi\n\t"
      "syscall\n\t"
      "1:"
      : "=a"(result)
      : "a"(SYS_clone), "D"(kFlags), "S"(top), "d"(0), "r"(r10), "r"(r8), [exit] "i"(SYS_exit)
      : "rcx", "r11", "memory", "cc");
  return result;
}

// Leaves this thread a descriptor table of its own that holds `one` and `other` only.
bool KeepOnly(int one, int other) {
  constexpr unsigned kLast = ~0u;
  constexpr int kUnshare = 1 << 1;  // CLOSE_RANGE_UNSHARE
  const unsigned low = static_cast<unsigned>(one < other ? one : other);
  const unsigned high = static_cast<unsigned>(one < other ? other : one);
  if (Syscall(SYS_close_range, high + 1, kLast, kUnshare) != 0) return false;
  if (high - low > 1 && Syscall(SYS_close_range, low + 1, high - 1, 0) != 0) return false;
  return low == 0 || Syscall(SYS_close_range, 0, low - 1, 0) == 0;
}

// Should the program give up privileges later, the thread has none to keep but its user id.
void DropCapabilities() {
  __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  const __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {};
  Syscall(SYS_capset, &header, none);
}

}  // namespace

void DoorbellWatch::Open(std::atomic<uint32_t>* state, int bell_fd, FdTable* fds) {
  state_ = state;
  bell_fd_ = bell_fd;
  fds_ = fds;
}

void DoorbellWatch::Add(uint64_t address, uint64_t size_bytes) {
  const LockGuard guard(lock_);
  if (unable_) return;
  uint32_t at = 0;
  while (at < page_count_ && pages_[at].address != address) ++at;
  if (at == kPagesMax || (!started_ && !Start())) {
    unable_ = true;
    state_->store(wire::kDoorbellNone, std::memory_order_release);
    return;
  }
  pages_[at] = {address, size_bytes};
  if (at == page_count_) ++page_count_;
  // The new page is not protected yet: the worker must not believe so.
  if (state_->load(std::memory_order_acquire) == wire::kDoorbellNone) return;  // nor does it
  state_->store(wire::kDoorbellOpen, std::memory_order_release);
  if (IdentityOfFd(kick_fd_) == kick_identity_) SignalEventFd(kick_fd_);
  SignalEventFd(bell_fd_);
}

void DoorbellWatch::CloseInChild() {
  if (kick_fd_ >= 0 && IdentityOfFd(kick_fd_) == kick_identity_) CloseFd(kick_fd_);
}

bool DoorbellWatch::Start() {
  if (IsFiltered()) return false;
  const long kick_fd = Syscall(SYS_eventfd2, 0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (kick_fd < 0) return false;
  kick_fd_ = static_cast<int>(kick_fd);
  kick_identity_ = IdentityOfFd(kick_fd_);
  fds_->Set(kick_fd_, {FdTable::kPrivate, kick_identity_, 0});
  uint8_t* const thread_pointer = thread_local_ + kThreadLocalSizeBytes / 2;
  std::memcpy(thread_pointer, &thread_pointer, sizeof(thread_pointer));  // where %fs:0 points to itself
  started_ = true;
  return StartThread(stack_ + kStackSizeBytes, thread_pointer, &Main, this) >= 0;
}

// ---- The thread. Signals are blocked: it was made under a LockGuard. ----

void DoorbellWatch::Main(void* watch) {
  auto* const self = static_cast<DoorbellWatch*>(watch);
  Syscall(SYS_prctl, PR_SET_NAME, "nvshim-doorbell");  // for who looks at the program's threads
  if (!KeepOnly(self->bell_fd_, self->kick_fd_) || !self->OpenFault()) return;
  DropCapabilities();
  self->Run();
}

bool DoorbellWatch::OpenFault() {
  const long fd = Syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | kUserModeOnly);
  if (fd < 0) return false;
  fault_fd_ = static_cast<int>(fd);
  // Doorbell pages are shared memory: write protection of that came with Linux 5.19.
  uffdio_api api = {};
  api.api = UFFD_API;
  api.features = UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_WP_HUGETLBFS_SHMEM;
  return Syscall(SYS_ioctl, fault_fd_, UFFDIO_API, &api) == 0;
}

void DoorbellWatch::SetOpen() {
  const LockGuard guard(lock_);
  state_->store(unable_ ? wire::kDoorbellNone : wire::kDoorbellOpen, std::memory_order_release);
}

void DoorbellWatch::Run() {
  SetOpen();
  while (true) {
    for (uint32_t state; (state = state_->load(std::memory_order_acquire)) != wire::kDoorbellAsked;)
      Syscall(SYS_futex, state_, FUTEX_WAIT, state, 0, 0, 0);
    if (Protect()) {
      uint32_t asked = wire::kDoorbellAsked;
      // Not if a page was added meanwhile.
      if (state_->compare_exchange_strong(asked, wire::kDoorbellArmed, std::memory_order_acq_rel)) Wait();
    }
    // In this order: who hears the bell must not believe that the next store will be told too, and the worker
    // can wake up while the program's thread goes on.
    SetOpen();
    SignalEventFd(bell_fd_);
    LiftProtection();
  }
}

// Write-protects all pages; forgets those that are gone. False when a page cannot be watched.
bool DoorbellWatch::Protect() {
  const LockGuard guard(lock_);
  for (uint32_t i = 0; i < page_count_;) {
    uffdio_register area = {};
    area.range = {pages_[i].address, pages_[i].size_bytes};
    area.mode = UFFDIO_REGISTER_MODE_WP;
    uffdio_writeprotect protect = {area.range, UFFDIO_WRITEPROTECT_MODE_WP};
    long result = Syscall(SYS_ioctl, fault_fd_, UFFDIO_REGISTER, &area);
    if (result == 0) result = Syscall(SYS_ioctl, fault_fd_, UFFDIO_WRITEPROTECT, &protect);
    if (result == 0) {
      ++i;
    } else if (result == -EINVAL || result == -ENOENT) {  // unmapped, or something else lies there now
      pages_[i] = pages_[--page_count_];
    } else {
      unable_ = true;
      return false;
    }
  }
  return true;
}

// Lets stores through, those that wait first of all.
void DoorbellWatch::LiftProtection() {
  const LockGuard guard(lock_);
  for (uint32_t i = 0; i < page_count_; ++i) {
    uffdio_writeprotect lift = {{pages_[i].address, pages_[i].size_bytes}, 0};
    Syscall(SYS_ioctl, fault_fd_, UFFDIO_WRITEPROTECT, &lift);
  }
}

// Until a store, or a kick.
void DoorbellWatch::Wait() {
  pollfd fds[] = {{fault_fd_, POLLIN, 0}, {kick_fd_, POLLIN, 0}};
  while (Syscall(SYS_poll, fds, 2, -1) <= 0) {
  }
  uint64_t count;
  Syscall(SYS_read, kick_fd_, &count, sizeof(count));
  // Which store it was does not matter; several threads may have stored at once.
  uffd_msg message;
  while (Syscall(SYS_read, fault_fd_, &message, sizeof(message)) > 0) {
  }
}

}  // namespace nvshim::preload
