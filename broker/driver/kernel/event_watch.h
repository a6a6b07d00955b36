// Which device files have events. A thread waits for all of them, because the kernel driver's poll takes back
// what it reports: whoever polls a file once more than needed, and a poll of an epoll instance that holds it
// is one, loses an event. The thread starts with the first file and sleeps while nothing happens.
#ifndef BROKER_DRIVER_KERNEL_EVENT_WATCH_H_
#define BROKER_DRIVER_KERNEL_EVENT_WATCH_H_

#include <mutex>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "broker/driver/driver.h"

namespace nvshim::broker::kernel {

class EventWatch {
 public:
  EventWatch() = default;
  EventWatch(const EventWatch&) = delete;
  EventWatch& operator=(const EventWatch&) = delete;
  ~EventWatch();

  // Before any of the others.
  absl::Status Start();

  // Before the first event can come: what a file has by then gets lost. Adding it twice does nothing. False
  // when the machine is short of memory.
  bool Add(int fd, DriverFileId file);

  // Before `fd` is closed. What was noted before is still told.
  void Remove(int fd);

  // As in driver.h.
  int signal_fd() const { return signal_fd_; }
  void Take(std::vector<DriverFileId>* files);

 private:
  void Run();

  int epoll_fd_ = -1;   // waited on by the thread alone
  int signal_fd_ = -1;  // eventfd: noted_ is not empty
  int stop_fd_ = -1;    // eventfd
  std::thread thread_;
  std::mutex mutex_;
  std::vector<DriverFileId> noted_;  // under the lock
};

}  // namespace nvshim::broker::kernel

#endif  // BROKER_DRIVER_KERNEL_EVENT_WATCH_H_
