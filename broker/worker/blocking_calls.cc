#include "broker/worker/blocking_calls.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

namespace nvshim::broker {

absl::StatusOr<std::unique_ptr<BlockingCalls>> BlockingCalls::Create(Driver* driver) {
  Fd ended_fd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!ended_fd.valid()) return absl::ErrnoToStatus(errno, "eventfd");
  return std::unique_ptr<BlockingCalls>(new BlockingCalls(driver, std::move(ended_fd)));
}

BlockingCalls::~BlockingCalls() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    more_.notify_all();
  }
  for (std::thread& thread : threads_) thread.join();
}

void BlockingCalls::Run(DriverIoctl call) {
  while (threads_.size() < kThreads) threads_.emplace_back([this] { Serve(); });
  const std::lock_guard lock(mutex_);
  waiting_.push_back(std::move(call));
  more_.notify_one();
}

std::vector<DriverReturned> BlockingCalls::TakeEnded() {
  eventfd_t count;
  eventfd_read(ended_fd_.get(), &count);
  const std::lock_guard lock(mutex_);
  return std::exchange(ended_, {});
}

void BlockingCalls::Serve() {
  std::unique_lock lock(mutex_);
  for (;;) {
    more_.wait(lock, [this] { return stopping_ || !waiting_.empty(); });
    if (stopping_) return;
    DriverIoctl call = std::move(waiting_.front());
    waiting_.pop_front();
    lock.unlock();
    const int error = driver_->Ioctl(call.file, call.call);
    lock.lock();
    ended_.push_back({call.token, error, std::move(call.call)});
    eventfd_write(ended_fd_.get(), 1);
  }
}

}  // namespace nvshim::broker
