#include "preload/channel.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>

#include "preload/fd_table.h"

namespace nvshim::preload {

namespace {

// No message carries more: Welcome brings two.
constexpr uint32_t kFdsPerDatagramMax = 2;

// A FdDelivery is a dozen bytes; anything longer is not one.
constexpr size_t kDeliverySizeBytesMax = 64;

// Collects the descriptors of a message; closes those that nobody asked for.
void TakeRights(const msghdr& message, std::span<int> fds, uint32_t* fd_count) {
  std::fill(fds.begin(), fds.end(), -1);
  *fd_count = 0;
  for (const cmsghdr* control = CMSG_FIRSTHDR(&message); control != nullptr;
       control = CMSG_NXTHDR(const_cast<msghdr*>(&message), const_cast<cmsghdr*>(control))) {
    if (control->cmsg_level != SOL_SOCKET || control->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (control->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int fd;
      std::memcpy(&fd, CMSG_DATA(control) + i * sizeof(int), sizeof(int));
      if (*fd_count < fds.size())
        fds[(*fd_count)++] = fd;
      else
        CloseFd(fd);
    }
  }
}

}  // namespace

long ReceiveDatagram(int socket, std::span<uint8_t> bytes, int flags, std::span<int> fds,
                     uint32_t* fd_count) {
  iovec buffer = {bytes.data(), bytes.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(kFdsPerDatagramMax * sizeof(int))];
  msghdr message = {};
  message.msg_iov = &buffer;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  const long size_bytes = Syscall(SYS_recvmsg, socket, &message, flags | MSG_CMSG_CLOEXEC);
  if (size_bytes < 0) return size_bytes;
  TakeRights(message, fds, fd_count);
  if ((message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) == 0) return size_bytes;
  for (uint32_t i = 0; i < *fd_count; ++i) CloseFd(fds[i]);
  *fd_count = 0;
  return -EMSGSIZE;
}

void Channel::Open(int channel_fd, int doorbell_fd) {
  channel_fd_ = channel_fd;
  doorbell_fd_ = doorbell_fd;
  channel_identity_ = IdentityOfFd(channel_fd);
  doorbell_identity_ = IdentityOfFd(doorbell_fd);
}

void Channel::CloseInChild() {
  if (IdentityOfFd(channel_fd_) == channel_identity_) CloseFd(channel_fd_);
  if (IdentityOfFd(doorbell_fd_) == doorbell_identity_) CloseFd(doorbell_fd_);
}

bool Channel::Intact() const {
  return IdentityOfFd(channel_fd_) == channel_identity_ && IdentityOfFd(doorbell_fd_) == doorbell_identity_;
}

void Channel::RingDoorbell() {
  if (IdentityOfFd(doorbell_fd_) != doorbell_identity_ || SignalEventFd(doorbell_fd_) == -EBADF) MarkLost();
}

bool Channel::HungUp() {
  if (lost()) return true;
  pollfd channel = {channel_fd_, POLLRDHUP, 0};
  const bool gone = IdentityOfFd(channel_fd_) != channel_identity_ ||
                    (Syscall(SYS_poll, &channel, 1, 0) == 1 &&
                     (channel.revents & (POLLHUP | POLLRDHUP | POLLERR | POLLNVAL)) != 0);
  if (gone) MarkLost();
  return gone;
}

int Channel::TakeFd(uint32_t lane, uint32_t sequence) {
  const LockGuard guard(lock_);
  int fd = TakeFromMailbox(lane, sequence);
  if (fd >= 0 || IdentityOfFd(channel_fd_) != channel_identity_) return fd;
  while (fd < 0 && ReceiveOne()) fd = TakeFromMailbox(lane, sequence);
  return fd;
}

int Channel::TakeFromMailbox(uint32_t lane, uint32_t sequence) {
  Mailbox& mailbox = mailboxes_[lane];
  if (mailbox.fd < 0 || mailbox.sequence != sequence) return -1;
  const int fd = mailbox.fd;
  mailbox = {};
  return fd;
}

bool Channel::ReceiveOne() {
  uint8_t bytes[kDeliverySizeBytesMax];
  int fd = -1;
  uint32_t fd_count = 0;
  const long size_bytes = ReceiveDatagram(channel_fd_, bytes, MSG_DONTWAIT, {&fd, 1}, &fd_count);
  // What did not fit (this process is at its limit of descriptors) is gone; what is behind it is not.
  if (size_bytes == -EMSGSIZE) return true;
  if (size_bytes <= 0) return false;
  Bytes message;
  FdDelivery delivery;
  const bool valid =
      DecodeChannelMessage({bytes, static_cast<size_t>(size_bytes)}, &message) == ChannelKind::kFdDelivery &&
      DecodeFdDelivery(message, &delivery) && delivery.lane < wire::kLaneCount && fd_count == 1;
  if (!valid) {
    if (fd_count == 1) CloseFd(fd);
    return true;  // not for us to understand; what we wait for may be behind it
  }
  Mailbox& mailbox = mailboxes_[delivery.lane];
  if (mailbox.fd >= 0) CloseFd(mailbox.fd);  // its call was given up
  mailbox = {delivery.sequence, fd};
  return true;
}

}  // namespace nvshim::preload
