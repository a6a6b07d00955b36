#include "preload/process.h"

#include <errno.h>
#include <pthread.h>
#include <sys/mman.h>

#include <new>

namespace nvshim::preload {

namespace {

constinit FdTable g_fd_table;
constinit MappableFiles g_mappable_files;
constinit HostMemory g_host_memory;
constinit std::atomic<Session*> g_session{nullptr};
constinit FutexLock g_connect_lock;
constinit std::atomic<int> g_owner_pid{0};

// One page that the kernel wipes in a forked child, and only there: tells a child with memory of its own
// (wiped) from one that borrows its parent's (vfork; not wiped), where the pid alone cannot.
enum Mark : uint32_t { kWiped = 0, kSet = 1, kResetting = 2 };
struct alignas(wire::kPageSizeBytes) ForkPage {
  std::atomic<uint32_t> mark{kWiped};
  uint8_t rest[wire::kPageSizeBytes - sizeof(std::atomic<uint32_t>)] = {};
};
constinit ForkPage g_fork_page;
constinit bool g_fork_page_works = false;

int Pid() { return static_cast<int>(Syscall(SYS_getpid)); }

// Makes a child's copy of the state pristine: the descriptors are closed, the region was not inherited, the
// rest of the session (its parent's lanes, waits and locks) is leaked.
void ResetInChild() {
  if (Session* session = g_session.exchange(nullptr, std::memory_order_relaxed)) {
    session->channel.CloseInChild();
    session->doorbells.CloseInChild();
  }
  g_connect_lock.Reset();
  g_mappable_files.DropAll();  // mappings were inherited; nothing is mapped anew through a parent's session
  g_fd_table.Reset();
}

void BeforeFork() { g_host_memory.BeforeFork(); }

void AfterForkInParent() { g_host_memory.AfterForkInParent(); }

void AfterForkInChild() {
  const ErrnoKeeper keep_errno;
  g_host_memory.AfterForkInChild();  // first of all: the parent waits for it
  ResetInChild();
  g_owner_pid.store(Pid(), std::memory_order_relaxed);
  g_fork_page.mark.store(kSet, std::memory_order_release);
}

// In a child with memory of its own that no handler has told. Only one of its threads gets to reset.
bool ResetUntoldChild(int pid) {
  uint32_t expected = kWiped;
  if (g_fork_page.mark.compare_exchange_strong(expected, kResetting, std::memory_order_acquire)) {
    g_host_memory.MakePrivate();
    ResetInChild();
    g_owner_pid.store(pid, std::memory_order_relaxed);
    g_fork_page.mark.store(kSet, std::memory_order_release);
    return true;
  }
  while (g_fork_page.mark.load(std::memory_order_acquire) == kResetting) Syscall(SYS_sched_yield);
  return g_owner_pid.load(std::memory_order_relaxed) == pid;
}

// Zeroed memory, as large as a session.
void* MapSession() {
  const long mapped =
      Syscall(SYS_mmap, 0, sizeof(Session), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return mapped < 0 && mapped > -4096 ? nullptr : reinterpret_cast<void*>(mapped);
}

// A broker that took this long to say no is stuck, and a program that looks for devices asks many times: it
// hears no at once for a while.
constexpr int64_t kSlowNs = 1'000'000'000;
constexpr int64_t kPauseNs = 30'000'000'000;
constinit int64_t g_paused_until_ns = 0;  // under the connect lock

int HandshakeUnlessPaused(Session* session, HandshakeResult* result) {
  const int64_t started_ns = MonotonicNs();
  if (started_ns < g_paused_until_ns) return ENOENT;
  const int error = Handshake(session->datagram, result, &session->welcome);
  const int64_t ended_ns = MonotonicNs();
  if (error != 0 && ended_ns - started_ns > kSlowNs) g_paused_until_ns = ended_ns + kPauseNs;
  return error;
}

// Under the connect lock.
Session* Connect(int* error) {
  void* const memory = MapSession();
  if (memory == nullptr) {
    *error = ENOMEM;
    return nullptr;
  }
  Session* const session = new (memory) Session;
  HandshakeResult result;
  *error = HandshakeUnlessPaused(session, &result);
  if (*error != 0) {
    Syscall(SYS_munmap, memory, sizeof(Session));
    return nullptr;
  }
  session->table = result.table;
  session->region = result.region;
  session->channel.Open(result.channel_fd, result.doorbell_fd);
  session->doorbells.Open(&wire::HeaderOf(result.region)->doorbell_state, result.doorbell_fd, &g_fd_table);
  session->lanes.Open(result.region, &session->channel, /*may_spin=*/true);
  g_mappable_files.DropAll();
  g_fd_table.Reset();  // files of an earlier session have to be claimed again
  Park(result.channel_fd);
  Park(result.doorbell_fd);
  g_session.store(session, std::memory_order_release);  // pairs with the acquire in CurrentSession
  return session;
}

// The current session, if nothing seems wrong with it.
Session* HealthySession() {
  Session* const session = CurrentSession();
  return session != nullptr && session->channel.Intact() && !session->channel.HungUp() ? session : nullptr;
}

}  // namespace

bool Session::HasGpu(uint32_t minor) const {
  for (uint32_t i = 0; i < welcome.gpu_count; ++i)
    if (welcome.gpu_minors[i] == minor) return true;
  return false;
}

FdTable& fd_table() { return g_fd_table; }

MappableFiles& mappable_files() { return g_mappable_files; }

HostMemory& host_memory() { return g_host_memory; }

void Park(int fd) { g_fd_table.Set(fd, {FdTable::kPrivate, IdentityOfFd(fd), 0}); }

bool OwnsState() {
  const int pid = Pid();
  int owner = g_owner_pid.load(std::memory_order_relaxed);
  if (owner == pid) return true;
  // Before our constructor: some other library's constructor calls.
  if (owner == 0 && g_owner_pid.compare_exchange_strong(owner, pid, std::memory_order_relaxed)) return true;
  if (!g_fork_page_works || g_fork_page.mark.load(std::memory_order_acquire) == kSet) return false;
  return ResetUntoldChild(pid);
}

Session* CurrentSession() { return g_session.load(std::memory_order_acquire); }

Session* Attach(int* error) {
  *error = 0;
  if (Session* session = HealthySession()) return session;
  const LockGuard guard(g_connect_lock);
  if (Session* session = HealthySession()) return session;  // another thread was faster
  if (Session* lost = CurrentSession()) lost->channel.MarkLost();
  return Connect(error);
}

void InitProcess() {
  int nobody = 0;
  g_owner_pid.compare_exchange_strong(nobody, Pid(), std::memory_order_relaxed);
  g_fork_page_works = Syscall(SYS_madvise, &g_fork_page, sizeof(g_fork_page), MADV_WIPEONFORK) == 0;
  g_fork_page.mark.store(kSet, std::memory_order_release);
  pthread_atfork(BeforeFork, AfterForkInParent, AfterForkInChild);
}

}  // namespace nvshim::preload
