// The worker processes of a supervisor: starts them, finds those that an earlier supervisor has left, carries
// messages, ends them. Each listens at a socket of its own, in a folder that only the broker's user may
// enter: who can connect there is a supervisor, and one that takes the place of another finds all of them by
// their sockets. What they are told and say is not looked at here. One thread.
#ifndef BROKER_SUPERVISOR_WORKERS_H_
#define BROKER_SUPERVISOR_WORKERS_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "broker/io/loop.h"
#include "broker/supervisor/worker_process.h"
#include "broker/supervisor/worker_uids.h"
#include "proto/control.pb.h"

namespace nvshim::broker {

struct WorkersOptions {
  std::string folder;  // made when it is missing
  std::vector<std::string> arguments;
  std::optional<UidRange> uids;  // each worker runs under a user id of its own out of these
  // Kinds of the loop's tags that are this object's: messages and ends.
  uint8_t message_tag;
  uint8_t end_tag;
  // A worker has said something. The first from a worker that was found is its hello.
  std::function<void(uint32_t worker, const FromWorker& message)> on_message;
  // A worker is gone by itself. It is no longer known here.
  std::function<void(uint32_t worker, pid_t pid)> on_gone;
  // The process of a worker that is no longer known here is gone, and the kernel has released what it held.
  std::function<void(uint32_t worker)> on_released = nullptr;
};

class Workers {
 public:
  Workers(WorkersOptions options, Loop* loop);

  // Finds the workers of an earlier supervisor and waits, for a bounded time, until each has said hello; one
  // that is slower is heard later. The error says what is wrong with the folder.
  absl::Status TakeOver();

  // Of workers that are started from now on.
  void SetArguments(std::vector<std::string> arguments) { options_.arguments = std::move(arguments); }

  // Starts a worker; its number, which is never that of another. The error says why there is none.
  absl::StatusOr<uint32_t> Start();

  // False when the worker is gone or does not take it.
  bool Send(uint32_t worker, const ToWorker& message, std::span<const int> fds = {});

  // Ends a worker. It is no longer known here, and its user id is free when the process is gone.
  void End(uint32_t worker);

  // Ends all of them and waits until they are gone. Without this they go on after the object's end.
  void EndAll();

  pid_t PidOf(uint32_t worker) const { return workers_.at(worker).process.pid; }

  // Handles a completion of one of this object's kinds.
  void Complete(const Completion& completion);

 private:
  struct Record {
    WorkerProcess process;
    WorkerUids::Lease uid;
    bool identified = false;
    bool mistaken = false;  // for its supervisor, once
  };

  std::string SocketOf(uint32_t worker) const;
  absl::Status MakeFolder() const;
  bool Find(uint32_t worker);
  void AwaitHello(uint32_t worker, std::chrono::steady_clock::time_point deadline);
  bool Identify(uint32_t worker, const FromWorker& message);
  void OnReadable(uint32_t worker);
  void OnEnded(const Completion& completion);

  WorkersOptions options_;
  Loop* loop_;
  std::optional<WorkerUids> uids_;
  std::map<uint32_t, Record> workers_;
  std::map<uint32_t, Record> ending_;  // killed, and not gone: their user ids are in use
  uint32_t next_ = 1;
};

}  // namespace nvshim::broker

#endif  // BROKER_SUPERVISOR_WORKERS_H_
