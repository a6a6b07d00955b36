#include "broker/io/loop.h"

#include <sys/resource.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace nvshim::broker {
namespace {

// Recent kernels (seen with 6.18) count rings against RLIMIT_MEMLOCK of the user, 8 MiB by default, and a
// thousand workers may be one user: so the two queues have a page each. Entries of the submission queue:
// operations queued between two submissions. More are submitted early.
constexpr unsigned kEntries = 64;
// Completions that may wait; the kernel keeps more in its own memory and loses none.
constexpr unsigned kCompletionEntries = 128;

// Tag of operations whose completion nobody wants.
constexpr Tag kIgnored = {0xff, 0};

absl::Status Restrict(io_uring* ring) {
  constexpr uint8_t kOperations[] = {IORING_OP_POLL_ADD, IORING_OP_TIMEOUT, IORING_OP_ASYNC_CANCEL};
  io_uring_restriction restrictions[std::size(kOperations)] = {};
  for (size_t i = 0; i < std::size(kOperations); ++i) {
    restrictions[i].opcode = IORING_RESTRICTION_SQE_OP;
    restrictions[i].sqe_op = kOperations[i];
  }
  if (const int error = io_uring_register_restrictions(ring, restrictions, std::size(restrictions));
      error != 0)
    return absl::ErrnoToStatus(-error, "io_uring: cannot restrict operations");
  if (const int error = io_uring_enable_rings(ring); error != 0)
    return absl::ErrnoToStatus(-error, "io_uring: cannot enable the ring");
  return absl::OkStatus();
}

// What stands in the way of a ring, and what helps.
absl::Status NoRing(int error) {
  rlimit memlock{};
  switch (error) {
    case EPERM: {
      std::string disabled;
      std::getline(std::ifstream("/proc/sys/kernel/io_uring_disabled"), disabled);
      return absl::PermissionDeniedError(absl::StrCat(
          "io_uring is forbidden here: kernel.io_uring_disabled is ", disabled.empty() ? "unknown" : disabled,
          " (sysctl kernel.io_uring_disabled=0 allows it), and a seccomp filter, as containers have, has to "
          "allow io_uring_setup, io_uring_enter and io_uring_register"));
    }
    case ENOSYS:
      return absl::UnimplementedError("this kernel has no io_uring: Linux 5.13 or later is needed");
    case ENOMEM:
      getrlimit(RLIMIT_MEMLOCK, &memlock);
      return absl::ResourceExhaustedError(
          absl::StrCat("no memory for an io_uring: this user may lock ", memlock.rlim_cur / 1024,
                       " KiB (ulimit -l), of which each worker takes 8; raise RLIMIT_MEMLOCK "
                       "(LimitMEMLOCK= of the unit)"));
    default:
      return absl::ErrnoToStatus(error, "io_uring_setup");
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<Loop>> Loop::Create() {
  std::unique_ptr<Loop> loop(new Loop());
  // Completions are made when the thread asks for them, without a signal to it (Linux 6.1).
  int error = loop->Init(IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG);
  if (error == -EINVAL) error = loop->Init(0);
  if (error != 0) {
    loop->ring_.ring_fd = -1;
    return NoRing(-error);
  }
  if (auto status = Restrict(&loop->ring_); !status.ok()) return status;
  return loop;
}

int Loop::Init(unsigned flags) {
  io_uring_params params{};
  params.flags = flags | IORING_SETUP_R_DISABLED | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP;
  params.cq_entries = kCompletionEntries;
  return io_uring_queue_init_params(kEntries, &ring_, &params);
}

Loop::~Loop() {
  if (ring_.ring_fd >= 0) io_uring_queue_exit(&ring_);
}

io_uring_sqe* Loop::NextEntry() {
  io_uring_sqe* entry = io_uring_get_sqe(&ring_);
  while (entry == nullptr) {  // the queue is full: hand it over, then there is room
    io_uring_submit(&ring_);
    entry = io_uring_get_sqe(&ring_);
  }
  return entry;
}

void Loop::Poll(int fd, uint32_t events, Tag tag) {
  io_uring_sqe* entry = NextEntry();
  io_uring_prep_poll_multishot(entry, fd, events);
  entry->user_data = tag.Pack();
}

void Loop::Timeout(__kernel_timespec* duration, Tag tag) {
  io_uring_sqe* entry = NextEntry();
  io_uring_prep_timeout(entry, duration, 0, 0);
  entry->user_data = tag.Pack();
}

void Loop::Cancel(Tag tag) {
  io_uring_sqe* entry = NextEntry();
  io_uring_prep_cancel64(entry, tag.Pack(), 0);
  entry->user_data = kIgnored.Pack();
}

void Loop::Submit(bool block) {
  if (block)
    io_uring_submit_and_wait(&ring_, 1);
  else
    io_uring_submit(&ring_);
}

bool Loop::Next(Completion* completion) {
  io_uring_cqe* entry;
  for (;;) {
    if (io_uring_peek_cqe(&ring_, &entry) != 0) return false;
    *completion = {Tag::Unpack(entry->user_data), entry->res, (entry->flags & IORING_CQE_F_MORE) != 0};
    io_uring_cqe_seen(&ring_, entry);
    if (completion->tag.kind != kIgnored.kind) return true;
  }
}

}  // namespace nvshim::broker
