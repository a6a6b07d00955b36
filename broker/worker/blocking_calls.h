// Runs the driver calls that may take long (specs with may_block) on threads of their own, so that the
// worker's loop goes on serving other lanes. Calls end in any order; the core knows what is under way and
// keeps what it needs open. Made and used by the worker's thread.
#ifndef BROKER_WORKER_BLOCKING_CALLS_H_
#define BROKER_WORKER_BLOCKING_CALLS_H_

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "broker/core/action.h"
#include "broker/core/event.h"
#include "broker/driver/driver.h"
#include "broker/io/fd.h"

namespace nvshim::broker {

class BlockingCalls {
 public:
  // All start with the first call and stay, so that what a worker holds never depends on how calls happened
  // to overlap. More calls than these wait for one another: behind most of them is one lock of the driver's.
  static constexpr size_t kThreads = 4;

  // `driver` must allow calls from several threads, and outlive this.
  static absl::StatusOr<std::unique_ptr<BlockingCalls>> Create(Driver* driver);
  // Waits for the calls that are under way.
  ~BlockingCalls();
  BlockingCalls(const BlockingCalls&) = delete;
  BlockingCalls& operator=(const BlockingCalls&) = delete;

  // A lane has one call at a time, so what waits here is bounded by the lanes.
  void Run(DriverIoctl call);

  // Readable when a call has ended.
  int fd() const { return ended_fd_.get(); }

  // Takes what has ended.
  std::vector<DriverReturned> TakeEnded();

 private:
  BlockingCalls(Driver* driver, Fd ended_fd) : driver_(driver), ended_fd_(std::move(ended_fd)) {}
  void Serve();

  Driver* const driver_;
  const Fd ended_fd_;
  std::vector<std::thread> threads_;
  std::mutex mutex_;
  std::condition_variable more_;
  // All below under the lock.
  std::deque<DriverIoctl> waiting_;
  std::vector<DriverReturned> ended_;
  bool stopping_ = false;
};

}  // namespace nvshim::broker

#endif  // BROKER_WORKER_BLOCKING_CALLS_H_
