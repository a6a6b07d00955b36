#include "broker/io/socket.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77  // linux 6.5, not in Debian 12's headers
#endif

namespace nvshim::broker {
namespace {

// A short queue is enough: the supervisor does nothing else than accept.
constexpr int kBacklog = 512;

absl::Status Error(const std::string& what) { return absl::ErrnoToStatus(errno, what); }

absl::StatusOr<sockaddr_un> AddressOf(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof(address.sun_path))
    return absl::InvalidArgumentError(absl::StrCat("socket path '", path, "' must have 1 to ",
                                                   sizeof(address.sun_path) - 1, " characters"));
  path.copy(address.sun_path, path.size());
  return address;
}

absl::StatusOr<Fd> NewSocket() {
  Fd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket.valid()) return Error("socket");
  return socket;
}

// Whether the process that listens at the other end has ended. What its io_uring held the kernel closes a
// little later than the rest, so its socket may still take connections.
bool ListenerHasEnded(int connection) {
  auto peer = PeerOf(connection);
  if (!peer.ok()) return false;
  if (!peer->pidfd.valid()) return kill(peer->pid, 0) != 0 && errno == ESRCH;
  pollfd entry{peer->pidfd.get(), POLLIN, 0};
  return poll(&entry, 1, 0) == 1;
}

// Removes what a broker that died left at `path`.
absl::Status RemoveDeadSocket(const std::string& path) {
  struct stat status;
  if (lstat(path.c_str(), &status) != 0) return absl::OkStatus();
  if (!S_ISSOCK(status.st_mode))
    return absl::AlreadyExistsError(absl::StrCat(path, " exists and is not a socket"));
  const auto connection = Connect(path);
  if (connection.ok() && !ListenerHasEnded(connection->get()))
    return absl::AlreadyExistsError(
        absl::StrCat("another broker serves ", path, "; stop it or choose another --socket"));
  if (unlink(path.c_str()) != 0) return Error(absl::StrCat("cannot remove the dead socket ", path));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Fd> Listen(const std::string& path, mode_t mode) {
  auto address = AddressOf(path);
  if (!address.ok()) return address.status();
  if (auto status = RemoveDeadSocket(path); !status.ok()) return status;
  auto socket = NewSocket();
  if (!socket.ok()) return socket;
  // The mode is set before anybody can connect: nothing listens yet.
  if (bind(socket->get(), reinterpret_cast<sockaddr*>(&*address), sizeof(*address)) != 0)
    return Error(absl::StrCat("cannot bind ", path, " (its folder must exist and be writable)"));
  if (chmod(path.c_str(), mode) != 0) return Error(absl::StrCat("cannot set the mode of ", path));
  if (listen(socket->get(), kBacklog) != 0) return Error(absl::StrCat("cannot listen at ", path));
  return socket;
}

absl::Status ListenHere(int listener) {
  return listen(listener, kBacklog) == 0 ? absl::OkStatus() : Error("listen");
}

absl::StatusOr<Fd> Connect(const std::string& path) {
  auto address = AddressOf(path);
  if (!address.ok()) return address.status();
  auto socket = NewSocket();
  if (!socket.ok()) return socket;
  if (connect(socket->get(), reinterpret_cast<sockaddr*>(&*address), sizeof(*address)) != 0)
    return Error(absl::StrCat("cannot connect to ", path));
  return socket;
}

Fd Accept(int listener) { return Fd(accept4(listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK)); }

absl::StatusOr<Peer> PeerOf(int connection) {
  ucred credentials;
  socklen_t size = sizeof(credentials);
  if (getsockopt(connection, SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0) return Error("SO_PEERCRED");
  int pidfd = -1;
  size = sizeof(pidfd);
  if (getsockopt(connection, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &size) != 0) pidfd = -1;
  return Peer{credentials.uid, credentials.pid, Fd(pidfd)};
}

bool Send(int socket, std::span<const char> bytes, std::span<const int> fds) {
  iovec part{const_cast<char*>(bytes.data()), bytes.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  alignas(cmsghdr) char control[CMSG_SPACE(kFdsPerMessageMax * sizeof(int))] = {};
  if (!fds.empty()) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(fds.size_bytes());
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(fds.size_bytes());
    std::memcpy(CMSG_DATA(header), fds.data(), fds.size_bytes());
  }
  ssize_t sent;
  do {
    sent = sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  return sent == static_cast<ssize_t>(bytes.size());
}

ssize_t Receive(int socket, std::span<char> bytes) {
  ssize_t received;
  do {
    received = recv(socket, bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_TRUNC);
  } while (received < 0 && errno == EINTR);
  if (received < 0) return errno == EAGAIN ? kNothingWaits : kPeerGone;
  return received > static_cast<ssize_t>(bytes.size()) ? kTooLong : received;
}

ssize_t ReceiveWithFds(int socket, std::span<char> bytes, std::span<Fd> fds) {
  iovec part{bytes.data(), bytes.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  alignas(cmsghdr) char control[CMSG_SPACE(kFdsPerMessageMax * sizeof(int))];
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  ssize_t received;
  do {
    received = recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  } while (received < 0 && errno == EINTR);
  if (received < 0) return errno == EAGAIN ? kNothingWaits : kPeerGone;
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  if (header != nullptr && header->cmsg_type == SCM_RIGHTS) {
    const size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int passed;
      std::memcpy(&passed, CMSG_DATA(header) + i * sizeof(int), sizeof(passed));
      Fd fd(passed);
      if (i < fds.size()) fds[i] = std::move(fd);
    }
  }
  return (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0 ? kTooLong : received;
}

}  // namespace nvshim::broker
