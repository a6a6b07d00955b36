// Law: a vfork child, which runs in the memory of its parent, may close every descriptor and exit or exec
// without harm to the parent's device files; posix_spawn is the same story told by libc. A shim that keeps
// books about close() forgets the parent's files here.
#include <spawn.h>
#include <sys/syscall.h>

#include <initializer_list>

#include "testing/e2e/victims/rm.h"

extern char** environ;

namespace {

constexpr int kRounds = 20;

enum class Ending { kExit, kExec };

// Not inlined: the frame that calls vfork must not be left by the child.
__attribute__((noinline)) pid_t VforkAndClose(Ending ending) {
  char path[] = "/bin/true";
  char* const arguments[] = {path, nullptr};
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
  const pid_t pid = vfork();
#pragma GCC diagnostic pop
  if (pid != 0) return pid;
  for (int fd = 3; fd < 256; ++fd) close(fd);
  if (ending == Ending::kExec) execve(path, arguments, environ);
  _exit(ending == Ending::kExec ? 1 : 0);
}

void SpawnAndClose() {
  char path[] = "/bin/true";
  char* const arguments[] = {path, nullptr};
  posix_spawn_file_actions_t actions;
  victim::Law(posix_spawn_file_actions_init(&actions) == 0, "posix_spawn_file_actions_init fails");
  for (int fd = 3; fd < 64; ++fd) posix_spawn_file_actions_addclose(&actions, fd);
  pid_t pid = 0;
  errno = posix_spawn(&pid, path, &actions, nullptr, arguments, environ);
  victim::Law(errno == 0, "posix_spawn fails");
  posix_spawn_file_actions_destroy(&actions);
  victim::AwaitSuccess(pid, "the spawned child");
}

}  // namespace

int main() {
  victim::NeverHang();
  const victim::Session before = victim::OpenSession();
  victim::Probe(before);
  for (int round = 0; round < kRounds; ++round) {
    for (Ending ending : {Ending::kExit, Ending::kExec}) {
      const pid_t pid = VforkAndClose(ending);
      victim::Law(pid > 0, "vfork fails");
      victim::AwaitSuccess(pid, "the vfork child");
      victim::Probe(before);
    }
    SpawnAndClose();
    victim::Probe(before);
  }
  victim::Probe(victim::OpenSession());
  return 0;
}
