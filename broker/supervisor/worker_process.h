// Starting, finding and ending worker processes. A worker is the same binary, executed again as
// `gpu-broker worker`, with one socket of its own: there it listens for its supervisor, and for the next one
// when that is gone. It does not end with its supervisor.
#ifndef BROKER_SUPERVISOR_WORKER_PROCESS_H_
#define BROKER_SUPERVISOR_WORKER_PROCESS_H_

#include <sys/types.h>

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "broker/io/fd.h"

namespace nvshim::broker {

struct WorkerProcess {
  pid_t pid = -1;
  uid_t uid = 0;       // of a worker that was found: what it runs as
  bool child = false;  // of this process, which must reap it
  Fd process;          // pidfd: readable when the process has ended
  Fd socket;           // SOCK_SEQPACKET: ToWorker out, FromWorker in
};

// The descriptor number at which a worker finds the socket that it listens on.
inline constexpr int kWorkerListenerFd = 3;

// Starts a worker that listens at `socket_path`, and connects to it. `arguments` follow the program's name.
absl::StatusOr<WorkerProcess> StartWorker(const std::string& socket_path,
                                          const std::vector<std::string>& arguments);

// Connects to the worker of an earlier supervisor. Fails when nobody listens. Who it is, is the kernel's word
// for the process that called ListenHere last: the worker, or a supervisor that died before its new worker
// had come so far.
absl::StatusOr<WorkerProcess> FindWorker(const std::string& socket_path);

// Makes sure that `worker`, which was found, is the process that says of itself to be `pid`. Only then may it
// be ended.
bool IdentifyWorker(WorkerProcess& worker, pid_t pid);

// Ends the worker. Its files, and with them its guests' objects, are released by the kernel, which may take a
// driver of hardware seconds; so nobody waits. Before or after, in any order, the process must be reaped.
void KillWorker(WorkerProcess& worker);

// True once the process has ended; a child is then taken off the kernel's list. `wait`: not before.
bool ReapWorker(WorkerProcess& worker, bool wait);

}  // namespace nvshim::broker

#endif  // BROKER_SUPERVISOR_WORKER_PROCESS_H_
