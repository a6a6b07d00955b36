#include "preload/process.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>

#include "preload/handshake.h"
#include "preload/log.h"

namespace nvshim::preload {

namespace {

enum class State : uint32_t { kIdle, kReady };

constinit FdTable g_fd_table;
constinit Session g_session;
constinit FutexLock g_connect_lock;
constinit std::atomic<State> g_state{State::kIdle};
constinit std::atomic<bool> g_file_opened{false};
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

// Makes a child's copy of the state pristine. Its parent's lanes, waits and locks are not the child's; what
// cannot be taken apart safely is leaked.
void ResetInChild() {
  g_session.channel.Reset();
  g_session.lanes.Reset();
  g_session.pool.Reset();
  g_session.region = nullptr;  // not inherited (MADV_DONTFORK)
  g_connect_lock.Reset();
  g_fd_table.Reset();
  g_file_opened.store(false, std::memory_order_relaxed);
  g_state.store(State::kIdle, std::memory_order_relaxed);
}

void AfterForkInChild() {
  const ErrnoKeeper keep_errno;
  ResetInChild();
  g_owner_pid.store(Pid(), std::memory_order_relaxed);
  g_fork_page.mark.store(kSet, std::memory_order_release);
}

// In a child with memory of its own that no handler has told. Only one of its threads gets to reset.
bool ResetUntoldChild(int pid) {
  uint32_t expected = kWiped;
  if (g_fork_page.mark.compare_exchange_strong(expected, kResetting, std::memory_order_acquire)) {
    ResetInChild();
    g_owner_pid.store(pid, std::memory_order_relaxed);
    g_fork_page.mark.store(kSet, std::memory_order_release);
    return true;
  }
  while (g_fork_page.mark.load(std::memory_order_acquire) == kResetting) Syscall(SYS_sched_yield);
  return g_owner_pid.load(std::memory_order_relaxed) == pid;
}

bool HasManyCpus() {
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  Syscall(SYS_sched_getaffinity, 0, sizeof(cpus), &cpus);
  return CPU_COUNT(&cpus) > 1;
}

void Park(int fd) { g_fd_table.Set(fd, {FdTable::kPrivate, IdentityOfFd(fd), 0}); }

// Under the connect lock.
int Connect() {
  HandshakeResult result;
  const int error = Handshake(&result, &g_session.welcome);
  if (error != 0) return error;
  Park(result.channel_fd);
  Park(result.doorbell_fd);
  g_session.table = result.table;
  g_session.region = result.region;
  g_session.channel.Open(result.channel_fd, result.doorbell_fd);
  g_session.lanes.Open(result.region, &g_session.channel, HasManyCpus());
  g_state.store(State::kReady, std::memory_order_release);  // pairs with the acquire in CurrentSession
  return 0;
}

// The session of a ready process, or null when it has to connect again: its descriptors were closed before it
// opened any file, as a daemon does at its start. The old region is leaked, a thread may still look at it.
Session* CheckReady(int* error) {
  Channel& channel = g_session.channel;
  const bool intact = channel.Intact();
  if (intact && !channel.HungUp()) return &g_session;
  if (!intact && !g_file_opened.load(std::memory_order_relaxed)) return nullptr;
  channel.MarkLost();
  *error = ENODEV;
  return nullptr;
}

}  // namespace

bool Session::HasGpu(uint32_t minor) const {
  for (uint32_t i = 0; i < welcome.gpu_count; ++i)
    if (welcome.gpu_minors[i] == minor) return true;
  return false;
}

FdTable& fd_table() { return g_fd_table; }

bool OwnsState() {
  const int pid = Pid();
  int owner = g_owner_pid.load(std::memory_order_relaxed);
  if (owner == pid) return true;
  // Before our constructor: some other library's constructor calls.
  if (owner == 0 && g_owner_pid.compare_exchange_strong(owner, pid, std::memory_order_relaxed)) return true;
  if (!g_fork_page_works || g_fork_page.mark.load(std::memory_order_acquire) == kSet) return false;
  return ResetUntoldChild(pid);
}

Session* CurrentSession() {
  return g_state.load(std::memory_order_acquire) == State::kReady ? &g_session : nullptr;
}

Session* Attach(int* error) {
  *error = 0;
  if (CurrentSession() != nullptr) {
    Session* const session = CheckReady(error);
    if (session != nullptr || *error != 0) return session;
  }
  const LockGuard guard(g_connect_lock);
  if (CurrentSession() != nullptr) {  // another thread was faster, or the descriptors are gone
    Session* const session = CheckReady(error);
    if (session != nullptr || *error != 0) return session;
    g_session.channel.Reset();
    g_state.store(State::kIdle, std::memory_order_relaxed);
  }
  *error = Connect();
  return *error == 0 ? &g_session : nullptr;
}

void NoteFileOpened() { g_file_opened.store(true, std::memory_order_relaxed); }

void InitProcess() {
  int nobody = 0;
  g_owner_pid.compare_exchange_strong(nobody, Pid(), std::memory_order_relaxed);
  g_fork_page_works = Syscall(SYS_madvise, &g_fork_page, sizeof(g_fork_page), MADV_WIPEONFORK) == 0;
  g_fork_page.mark.store(kSet, std::memory_order_release);
  pthread_atfork(nullptr, nullptr, AfterForkInChild);
}

}  // namespace nvshim::preload
