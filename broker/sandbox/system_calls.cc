#include "broker/sandbox/system_calls.h"

#include <fcntl.h>
#include <linux/sockios.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <cerrno>
#include <initializer_list>
#include <memory>
#include <set>

#include "proto/abi/spec.h"

namespace nvshim::broker {
namespace {

using Filter = std::unique_ptr<void, void (*)(void*)>;

// Whatever their arguments: what these do is done to what the worker has already.
constexpr int kAllowed[] = {
    // The loop: completions, and what is received and sent on connections that it has.
    SCMP_SYS(io_uring_enter), SCMP_SYS(io_uring_setup), SCMP_SYS(io_uring_register), SCMP_SYS(accept),
    SCMP_SYS(accept4), SCMP_SYS(recvfrom), SCMP_SYS(recvmsg), SCMP_SYS(sendto), SCMP_SYS(sendmsg),
    SCMP_SYS(shutdown), SCMP_SYS(getsockopt), SCMP_SYS(setsockopt), SCMP_SYS(listen), SCMP_SYS(poll),
    SCMP_SYS(ppoll), SCMP_SYS(epoll_create1), SCMP_SYS(epoll_ctl), SCMP_SYS(epoll_wait),
    SCMP_SYS(epoll_pwait), SCMP_SYS(eventfd2),
    // Placeholders carry their guest's name as an address.
    SCMP_SYS(bind),
    // Descriptors, and the memory that processes share.
    SCMP_SYS(read), SCMP_SYS(write), SCMP_SYS(readv), SCMP_SYS(writev), SCMP_SYS(pread64), SCMP_SYS(pwrite64),
    SCMP_SYS(lseek), SCMP_SYS(close), SCMP_SYS(fcntl), SCMP_SYS(dup), SCMP_SYS(dup3), SCMP_SYS(fstat),
    SCMP_SYS(newfstatat), SCMP_SYS(statx), SCMP_SYS(readlink), SCMP_SYS(readlinkat), SCMP_SYS(getdents64),
    SCMP_SYS(memfd_create), SCMP_SYS(ftruncate), SCMP_SYS(fallocate), SCMP_SYS(inotify_add_watch),
    SCMP_SYS(inotify_rm_watch),
    // Memory.
    SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(madvise), SCMP_SYS(brk), SCMP_SYS(membarrier),
    // Threads: their start, waiting, signals to oneself, the end.
    SCMP_SYS(futex), SCMP_SYS(rseq), SCMP_SYS(set_robust_list), SCMP_SYS(sched_yield),
    SCMP_SYS(sched_getaffinity), SCMP_SYS(sched_setaffinity), SCMP_SYS(getcpu), SCMP_SYS(nanosleep),
    SCMP_SYS(clock_nanosleep), SCMP_SYS(clock_gettime), SCMP_SYS(gettimeofday), SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(rt_sigaction), SCMP_SYS(rt_sigreturn), SCMP_SYS(sigaltstack), SCMP_SYS(restart_syscall),
    SCMP_SYS(getpid), SCMP_SYS(gettid), SCMP_SYS(tgkill), SCMP_SYS(getuid), SCMP_SYS(geteuid),
    SCMP_SYS(getrandom), SCMP_SYS(getrusage), SCMP_SYS(exit), SCMP_SYS(exit_group)};

constexpr scmp_datum_t kLowHalf = 0xffffffff;

class Rules {
 public:
  explicit Rules(scmp_filter_ctx filter) : filter_(filter) {}

  void Add(uint32_t action, int call, std::initializer_list<scmp_arg_cmp> where = {}) {
    if (result_ == 0)
      result_ = seccomp_rule_add_array(filter_, action, call, static_cast<unsigned>(where.size()),
                                       where.size() == 0 ? nullptr : where.begin());
  }
  void Allow(int call, std::initializer_list<scmp_arg_cmp> where = {}) { Add(SCMP_ACT_ALLOW, call, where); }

  int result() const { return result_; }

 private:
  scmp_filter_ctx filter_;
  int result_ = 0;
};

// NVIDIA's ioctls, by type and by UVM's numbers, and how much a placeholder still has to send. A filter does
// not see what a descriptor is.
void AllowIoctls(Rules& rules) {
  rules.Allow(SCMP_SYS(ioctl), {SCMP_A1(SCMP_CMP_MASKED_EQ, 0xff00, abi::kEscapeType << 8)});
  std::set<uint32_t> numbers = {SIOCOUTQ};
  for (const abi::Table* table : abi::Tables())
    for (const abi::Spec& spec : table->uvm) numbers.insert(spec.number);
  for (const uint32_t number : numbers)
    rules.Allow(SCMP_SYS(ioctl), {SCMP_A1(SCMP_CMP_MASKED_EQ, kLowHalf, number)});
}

void AllowSome(Rules& rules) {
  // No memory that can be executed.
  for (const int call : {SCMP_SYS(mmap), SCMP_SYS(mprotect)})
    rules.Allow(call, {SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0)});
  // No new files by name: device nodes and what /proc says are opened.
  rules.Allow(SCMP_SYS(openat), {SCMP_A2(SCMP_CMP_MASKED_EQ, O_CREAT | O_TRUNC, 0)});
  // A connection's two ends, both its own. There is no connect.
  rules.Allow(SCMP_SYS(socketpair), {SCMP_A0(SCMP_CMP_EQ, AF_UNIX)});
  // Threads, and no processes. What clone3 makes no filter can see; without it the C library takes clone.
  rules.Allow(SCMP_SYS(clone), {SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD)});
  rules.Add(SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3));
}

}  // namespace

absl::Status ConfineSystemCalls() {
  if (!kConfinesSystemCalls) return absl::OkStatus();
  const Filter filter(seccomp_init(SCMP_ACT_ERRNO(EPERM)), seccomp_release);
  if (!filter) return absl::ResourceExhaustedError("seccomp_init");
  if (const int result = seccomp_attr_set(filter.get(), SCMP_FLTATR_CTL_TSYNC, 1))
    return absl::ErrnoToStatus(-result, "seccomp: no filter for all threads");
  Rules rules(filter.get());
  for (const int call : kAllowed) rules.Allow(call);
  AllowSome(rules);
  AllowIoctls(rules);
  if (rules.result() != 0) return absl::ErrnoToStatus(-rules.result(), "seccomp_rule_add");
  if (const int result = seccomp_load(filter.get()))
    return absl::ErrnoToStatus(-result, "a worker's system calls cannot be confined (seccomp_load)");
  return absl::OkStatus();
}

}  // namespace nvshim::broker
