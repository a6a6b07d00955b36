// Device files with OS events, as the host program's poll, select and epoll see them. The kernel driver's
// poll takes back what it reports: the file is not readable again before the next event. Here an event is a
// message that the worker wrote into the placeholder (proto/frame.proto, FileSignal), and a socket stays
// readable until somebody reads. So each of those functions is followed by one of these, which reads the
// messages of the files that were reported. Any thread, any signal handler; errno is left alone.
//
// A file is recognised by the name of its other end, because libcuda waits on duplicates of the descriptors
// it made the events on. That is one system call for each descriptor reported, in programs with OS events
// only.
#ifndef PRELOAD_OS_EVENTS_H_
#define PRELOAD_OS_EVENTS_H_

#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>

#include <atomic>
#include <cstdint>

namespace nvshim::preload {

inline constinit std::atomic<bool> g_has_os_events = false;
// All that a program without such files pays for: one relaxed load.
inline bool HasOsEvents() { return g_has_os_events.load(std::memory_order_relaxed); }
// An NV_ESC_ALLOC_OS_EVENT has succeeded in this process. A forked child inherits this.
inline void NoteOsEvent() { g_has_os_events.store(true, std::memory_order_relaxed); }

// After a poll that reported something. Where POLLPRI was asked for it is reported too, as by the driver.
void ConsumePolled(pollfd* fds, nfds_t count);

// After a select that reported something; `readable` may be null. The exceptional set stays as it is.
void ConsumeSelected(int fd_end, const fd_set* readable);

// What an epoll instance reports is the data that came with the descriptor, so the files that were added to
// one are remembered.
class EpollFiles {
 public:
  // More than a program has; the oldest is forgotten, and then is reported as long as its message waits.
  static constexpr uint32_t kSlots = 64;

  constexpr EpollFiles() = default;

  // After a successful epoll_ctl.
  void Control(int epoll_fd, int operation, int fd, const epoll_event* event);

  // After an epoll_wait that reported `count` events.
  void Consume(int epoll_fd, const epoll_event* events, int count) const;

  // One relaxed load: false as long as no file was ever added.
  bool used() const { return used_.load(std::memory_order_relaxed); }

 private:
  static uint64_t Pack(int epoll_fd, int fd) {
    return uint64_t{static_cast<uint32_t>(epoll_fd) + 1} << 32 | static_cast<uint32_t>(fd);
  }

  struct Slot {
    std::atomic<uint64_t> fds{0};  // 0: free
    std::atomic<uint64_t> data{0};
  };
  Slot slots_[kSlots];
  std::atomic<uint32_t> next_{0};
  std::atomic<bool> used_{false};
};

EpollFiles& epoll_files();

}  // namespace nvshim::preload

#endif  // PRELOAD_OS_EVENTS_H_
