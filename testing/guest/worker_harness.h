// A real worker with the simulated driver on a thread of the test, so that sanitizers see both sides. The
// test plays the supervisor.
#ifndef TESTING_GUEST_WORKER_HARNESS_H_
#define TESTING_GUEST_WORKER_HARNESS_H_

#include <cstdint>
#include <memory>
#include <string>
#include <thread>

#include "broker/worker/worker.h"
#include "proto/control.pb.h"
#include "testing/guest/raw_guest.h"

namespace nvshim::testing {

class WorkerHarness {
 public:
  explicit WorkerHarness(const std::string& gpu = "h200");
  explicit WorkerHarness(std::unique_ptr<broker::Driver> driver);
  ~WorkerHarness();

  // The guest's end of a connection to guest `guest_id` whose Hello has not been said.
  int NewConnection(uint32_t guest_id);

  // An attached process of guest `guest_id`. Null when the worker refuses.
  std::unique_ptr<RawGuest> NewProcess(uint32_t guest_id, Refused* refusal = nullptr);

  // What the worker has; asked through its loop, so everything sent before has been seen.
  WorkerStatistics Statistics();

  // Waits until the worker holds no process, file, client or object of any guest.
  void AwaitEmpty();

 private:
  uint64_t instances_;  // guests of two harnesses must not share a name
  int supervisor_;
  std::thread thread_;
};

}  // namespace nvshim::testing

#endif  // TESTING_GUEST_WORKER_HARNESS_H_
