#include "broker/driver/kernel/event_watch.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace nvshim::broker::kernel {
namespace {

constexpr uint64_t kStop = 0;  // no file has this id
constexpr int kEventsPerWait = 32;

void Signal(int eventfd) {
  const uint64_t one = 1;
  // Fails when the counter is full: then it is readable.
  [[maybe_unused]] const ssize_t written = write(eventfd, &one, sizeof(one));
}

}  // namespace

EventWatch::~EventWatch() {
  if (thread_.joinable()) {
    Signal(stop_fd_);
    thread_.join();
  }
  for (int fd : {epoll_fd_, signal_fd_, stop_fd_})
    if (fd >= 0) close(fd);
}

absl::Status EventWatch::Start() {
  epoll_fd_ = epoll_create1(EPOLL_CLOEXEC);
  signal_fd_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  stop_fd_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  epoll_event event = {.events = EPOLLIN, .data = {.u64 = kStop}};
  if (epoll_fd_ < 0 || signal_fd_ < 0 || stop_fd_ < 0 ||
      epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, stop_fd_, &event) != 0)
    return absl::ErrnoToStatus(errno, "watching device files for events");
  return absl::OkStatus();
}

bool EventWatch::Add(int fd, DriverFileId file) {
  // Edge-triggered: each wake-up is told once, also of files that stay readable.
  epoll_event event = {.events = EPOLLIN | EPOLLPRI | EPOLLET, .data = {.u64 = file}};
  if (epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, fd, &event) != 0) return errno == EEXIST;
  if (!thread_.joinable()) thread_ = std::thread([this] { Run(); });
  return true;
}

void EventWatch::Remove(int fd) { epoll_ctl(epoll_fd_, EPOLL_CTL_DEL, fd, nullptr); }

void EventWatch::Take(std::vector<DriverFileId>* files) {
  uint64_t count;
  [[maybe_unused]] const ssize_t taken = read(signal_fd_, &count, sizeof(count));
  const std::lock_guard lock(mutex_);
  files->insert(files->end(), noted_.begin(), noted_.end());
  noted_.clear();
}

void EventWatch::Run() {
  epoll_event events[kEventsPerWait];
  for (;;) {
    const int count = epoll_wait(epoll_fd_, events, kEventsPerWait, -1);
    const std::lock_guard lock(mutex_);
    for (int i = 0; i < count; ++i) {
      if (events[i].data.u64 == kStop) return;
      const auto file = static_cast<DriverFileId>(events[i].data.u64);
      if (std::find(noted_.begin(), noted_.end(), file) == noted_.end()) noted_.push_back(file);
    }
    if (!noted_.empty()) Signal(signal_fd_);
  }
}

}  // namespace nvshim::broker::kernel
