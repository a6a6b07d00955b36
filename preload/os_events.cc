#include "preload/os_events.h"

#include <sys/socket.h>

#include "preload/placeholder.h"
#include "preload/syscalls.h"

namespace nvshim::preload {

namespace {

bool IsPlaceholder(int fd) {
  Placeholder placeholder;
  return ReadPlaceholder(fd, &placeholder);
}

// Reads the message that waits in `fd`, if that is a file of ours. At most one waits.
bool Consume(int fd) {
  if (!IsPlaceholder(fd)) return false;
  char byte;
  return Syscall(SYS_recvfrom, fd, &byte, sizeof(byte), MSG_DONTWAIT, 0, 0) > 0;
}

constinit EpollFiles g_epoll_files;

}  // namespace

void ConsumePolled(pollfd* fds, nfds_t count) {
  for (nfds_t i = 0; i < count; ++i) {
    if ((fds[i].revents & POLLIN) == 0 || !Consume(fds[i].fd)) continue;
    fds[i].revents = static_cast<short>(fds[i].revents | (fds[i].events & POLLPRI));
  }
}

void ConsumeSelected(int fd_end, const fd_set* readable) {
  if (readable == nullptr) return;
  // By words, for a set of a program with many descriptors is longer than fd_set.
  constexpr int kBits = 8 * sizeof(fd_mask);
  const auto* words = reinterpret_cast<const fd_mask*>(readable);
  for (int fd = 0; fd < fd_end; ++fd)
    if ((static_cast<uint64_t>(words[fd / kBits]) >> (fd % kBits) & 1) != 0) Consume(fd);
}

void EpollFiles::Control(int epoll_fd, int operation, int fd, const epoll_event* event) {
  if (!IsPlaceholder(fd)) return;
  const uint64_t fds = Pack(epoll_fd, fd);
  Slot* place = nullptr;
  for (Slot& slot : slots_) {
    const uint64_t held = slot.fds.load(std::memory_order_relaxed);
    if (held == fds || (held == 0 && place == nullptr)) place = &slot;
    if (held == fds) break;
  }
  if (operation == EPOLL_CTL_DEL) {
    if (place != nullptr && place->fds.load(std::memory_order_relaxed) == fds)
      place->fds.store(0, std::memory_order_relaxed);
    return;
  }
  if (place == nullptr) place = &slots_[next_.fetch_add(1, std::memory_order_relaxed) % kSlots];
  // Two threads that meet here at worst lose one of two files, which is then reported too often.
  place->data.store(event->data.u64, std::memory_order_relaxed);
  place->fds.store(fds, std::memory_order_release);  // pairs with the acquire in Consume
  used_.store(true, std::memory_order_relaxed);
}

// Files that share their data are told apart by nobody, so all of them count as reported.
void EpollFiles::Consume(int epoll_fd, const epoll_event* events, int count) const {
  for (const Slot& slot : slots_) {
    const uint64_t fds = slot.fds.load(std::memory_order_acquire);
    const int fd = static_cast<int>(static_cast<uint32_t>(fds));
    if (fds == 0 || fds != Pack(epoll_fd, fd)) continue;
    const uint64_t data = slot.data.load(std::memory_order_relaxed);
    for (int i = 0; i < count; ++i) {
      if ((events[i].events & EPOLLIN) == 0 || events[i].data.u64 != data) continue;
      preload::Consume(fd);
      break;
    }
  }
}

EpollFiles& epoll_files() { return g_epoll_files; }

}  // namespace nvshim::preload
