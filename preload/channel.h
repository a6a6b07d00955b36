// The two descriptors that tie this process to its worker: the channel (hang-up, and files on their way to
// us) and the doorbell. The host program does not know them and may close them (closefrom, a daemon's start):
// before either is used on a path that can afford it, its identity is compared, and a stranger is never read
// or written. Any thread; the lock inside is held for a few system calls with signals blocked.
#ifndef PRELOAD_CHANNEL_H_
#define PRELOAD_CHANNEL_H_

#include <atomic>
#include <cstdint>

#include "preload/codec.h"
#include "preload/guard.h"
#include "proto/wire/region.h"

namespace nvshim::preload {

class Channel {
 public:
  constexpr Channel() = default;

  // Takes both descriptors over.
  void Open(int channel_fd, int doorbell_fd);

  // Closes the copies that a forked child has, those that are still ours.
  void CloseInChild();

  int channel_fd() const { return channel_fd_; }
  int doorbell_fd() const { return doorbell_fd_; }

  // True while both numbers still are the descriptors that Open was given.
  bool Intact() const;

  // Wakes the worker. A failure marks the process lost.
  void RingDoorbell();

  // True once the worker is gone, or the host program closed what connects us to it. Two system calls.
  bool HungUp();

  // Set once, by whoever finds the worker gone or talking nonsense; there is no way back in this process.
  bool lost() const { return lost_.load(std::memory_order_relaxed); }
  void MarkLost() { lost_.store(true, std::memory_order_relaxed); }

  // The descriptor that was delivered for call `sequence` of `lane`; the caller owns it, it has FD_CLOEXEC.
  // -1 when there is none. Descriptors for other lanes that are found on the way wait in their mailboxes.
  int TakeFd(uint32_t lane, uint32_t sequence);

 private:
  struct Mailbox {
    uint32_t sequence = 0;
    int fd = -1;
  };

  // One datagram off the socket into its mailbox. False when there is none.
  bool ReceiveOne();
  int TakeFromMailbox(uint32_t lane, uint32_t sequence);

  int channel_fd_ = -1;
  int doorbell_fd_ = -1;
  uint32_t channel_identity_ = 0;
  uint32_t doorbell_identity_ = 0;
  std::atomic<bool> lost_{false};
  FutexLock lock_;  // over the socket's reading side and the mailboxes
  Mailbox mailboxes_[wire::kLaneCount] = {};
};

// One datagram with its descriptors, received with FD_CLOEXEC. Returns the datagram's size, or a negative
// errno (EMSGSIZE for one that does not fit). `fds` beyond `fd_count` are -1.
long ReceiveDatagram(int socket, std::span<uint8_t> bytes, int flags, std::span<int> fds, uint32_t* fd_count);

}  // namespace nvshim::preload

#endif  // PRELOAD_CHANNEL_H_
