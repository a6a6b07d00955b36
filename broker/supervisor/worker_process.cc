#include "broker/supervisor/worker_process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "absl/status/status.h"
#include "broker/io/socket.h"

extern char** environ;

namespace nvshim::broker {
namespace {

// Of the broker's user alone. The folder around it says the same.
constexpr mode_t kWorkerSocketMode = 0600;

Fd PidfdOf(pid_t pid) { return Fd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0))); }

bool IsReadable(int fd, int timeout_ms) {
  pollfd entry{fd, POLLIN, 0};
  int ready;
  do {
    ready = poll(&entry, 1, timeout_ms);
  } while (ready < 0 && errno == EINTR);
  return ready > 0;
}

bool HungUp(int socket) {
  pollfd entry{socket, POLLRDHUP, 0};
  return poll(&entry, 1, 0) > 0;
}

absl::StatusOr<pid_t> Spawn(int listener, const std::vector<std::string>& arguments) {
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_adddup2(&files, listener, kWorkerListenerFd);
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
  pid_t pid;
  const int error = posix_spawn(&pid, "/proc/self/exe", &files, &attributes, argv.data(), environ);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&files);
  if (error != 0) return absl::ErrnoToStatus(error, "starting a worker");
  return pid;
}

}  // namespace

absl::StatusOr<WorkerProcess> StartWorker(const std::string& socket_path,
                                          const std::vector<std::string>& arguments) {
  auto listener = Listen(socket_path, kWorkerSocketMode);
  if (!listener.ok()) return listener.status();
  // dup2 of a descriptor onto itself would keep its close-on-exec flag.
  if (listener->get() == kWorkerListenerFd)
    *listener = Fd(fcntl(listener->get(), F_DUPFD_CLOEXEC, kWorkerListenerFd + 1));
  // Before there is a worker, so that from its first moment it has a supervisor, or the end of one.
  auto socket = Connect(socket_path);
  auto pid = socket.ok() ? Spawn(listener->get(), arguments) : socket.status();
  if (!pid.ok()) {
    unlink(socket_path.c_str());
    return pid.status();
  }
  WorkerProcess worker{.pid = *pid, .child = true, .process = PidfdOf(*pid), .socket = *std::move(socket)};
  if (worker.process.valid()) return worker;
  const absl::Status status = absl::ErrnoToStatus(errno, "pidfd_open of a worker");
  KillWorker(worker);
  ReapWorker(worker, /*wait=*/true);
  unlink(socket_path.c_str());
  return status;
}

absl::StatusOr<WorkerProcess> FindWorker(const std::string& socket_path) {
  auto socket = Connect(socket_path);
  if (!socket.ok()) return socket.status();
  auto peer = PeerOf(socket->get());
  if (!peer.ok()) return peer.status();
  return WorkerProcess{
      .pid = peer->pid, .uid = peer->uid, .process = std::move(peer->pidfd), .socket = *std::move(socket)};
}

bool IdentifyWorker(WorkerProcess& worker, pid_t pid) {
  if (worker.pid != pid) return false;
  if (worker.process.valid()) return true;
  worker.process = PidfdOf(pid);
  // Asked after opening: the number meant the worker for as long as the worker lived.
  if (HungUp(worker.socket.get())) worker.process.Reset();
  return worker.process.valid();
}

void KillWorker(WorkerProcess& worker) {
  if (worker.process.valid()) {
    syscall(SYS_pidfd_send_signal, worker.process.get(), SIGKILL, nullptr, 0);
  } else if (worker.child && worker.pid > 0) {
    kill(worker.pid, SIGKILL);  // the number is the worker's as long as it is not reaped
  }
  worker.socket.Reset();
}

bool ReapWorker(WorkerProcess& worker, bool wait) {
  if (worker.pid <= 0 || !worker.process.valid()) return true;
  if (worker.child) {
    pid_t reaped;
    do {
      reaped = waitpid(worker.pid, nullptr, wait ? 0 : WNOHANG);
    } while (reaped < 0 && errno == EINTR);
    if (reaped == 0) return false;
  } else if (!IsReadable(worker.process.get(), wait ? -1 : 0)) {
    return false;
  }
  worker.pid = -1;
  worker.process.Reset();
  return true;
}

}  // namespace nvshim::broker
