// Starting and ending worker processes: the same binary, executed again as `gpu-broker worker`, with one
// socket to its supervisor.
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
  Fd process;  // pidfd: readable when the process has ended
  Fd socket;   // SOCK_SEQPACKET: ToWorker out, FromWorker in
};

// The descriptor number at which a worker finds its socket.
inline constexpr int kWorkerSocketFd = 3;

// `arguments` follow the program's name.
absl::StatusOr<WorkerProcess> StartWorker(const std::vector<std::string>& arguments);

// Ends the worker. Its files, and with them its guests' objects, are released by the kernel, which may take a
// driver of hardware seconds; so nobody waits. Before or after, in any order, the process must be reaped.
void KillWorker(WorkerProcess& worker);

// Takes the ended process off the kernel's list; with `wait`, once it has ended. False when it has not.
bool ReapWorker(WorkerProcess& worker, bool wait);

}  // namespace nvshim::broker

#endif  // BROKER_SUPERVISOR_WORKER_PROCESS_H_
