#include "broker/supervisor/worker_process.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "absl/status/status.h"

extern char** environ;

namespace nvshim::broker {

absl::StatusOr<WorkerProcess> StartWorker(const std::vector<std::string>& arguments) {
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) != 0)
    return absl::ErrnoToStatus(errno, "socketpair");
  Fd ours(pair[0]);
  Fd workers(pair[1]);
  // dup2 of a descriptor onto itself would keep its close-on-exec flag.
  if (workers.get() == kWorkerSocketFd)
    workers = Fd(fcntl(workers.get(), F_DUPFD_CLOEXEC, kWorkerSocketFd + 1));

  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_adddup2(&files, workers.get(), kWorkerSocketFd);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  // The supervisor blocks the signals it reads from a signalfd; a worker starts with none blocked.
  sigset_t none;
  sigemptyset(&none);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);

  std::vector<char*> argv = {const_cast<char*>("gpu-broker")};
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  WorkerProcess worker;
  const int error = posix_spawn(&worker.pid, "/proc/self/exe", &files, &attributes, argv.data(), environ);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&files);
  if (error != 0) return absl::ErrnoToStatus(error, "starting a worker");
  worker.socket = std::move(ours);
  worker.process = Fd(static_cast<int>(syscall(SYS_pidfd_open, worker.pid, 0)));
  if (worker.process.valid()) return worker;
  const absl::Status status = absl::ErrnoToStatus(errno, "pidfd_open of a worker");
  KillWorker(worker);
  ReapWorker(worker, /*wait=*/true);
  return status;
}

void KillWorker(WorkerProcess& worker) {
  // The number is the worker's as long as it is not reaped.
  if (worker.pid > 0) kill(worker.pid, SIGKILL);
  worker.socket.Reset();
}

bool ReapWorker(WorkerProcess& worker, bool wait) {
  if (worker.pid <= 0) return true;
  pid_t reaped;
  do {
    reaped = waitpid(worker.pid, nullptr, wait ? 0 : WNOHANG);
  } while (reaped < 0 && errno == EINTR);
  if (reaped == 0) return false;
  worker.pid = -1;
  worker.process.Reset();
  return true;
}

}  // namespace nvshim::broker
