// Unix SOCK_SEQPACKET sockets: listen, connect, whole datagrams in and out, descriptors out, and who the peer
// is. The broker never accepts a descriptor from a guest: Receive has no room for one, so the kernel drops
// it.
#ifndef BROKER_IO_SOCKET_H_
#define BROKER_IO_SOCKET_H_

#include <sys/types.h>

#include <cstdint>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "broker/io/fd.h"

namespace nvshim::broker {

// Binds and listens at `path` with the given file mode. A dead socket at `path` is replaced; one that
// answers, or anything that is not a socket, is an error that says so.
absl::StatusOr<Fd> Listen(const std::string& path, mode_t mode);

// Makes the calling process, with the user id that it has now, the one that PeerOf names to whoever connects
// to `listener` from now on. Without this it is the process that bound the socket.
absl::Status ListenHere(int listener);

absl::StatusOr<Fd> Connect(const std::string& path);

// Accepts one connection; an invalid Fd when none waits.
Fd Accept(int listener);

struct Peer {
  uid_t uid;
  pid_t pid;
  Fd pidfd;  // of the peer at connect time; invalid on kernels before 6.5
};

// Who connected, by the kernel's word.
absl::StatusOr<Peer> PeerOf(int connection);

// One datagram, with at most kFdsPerMessageMax descriptors. False when the peer is gone or its buffer is
// full.
inline constexpr size_t kFdsPerMessageMax = 2;  // region and doorbell of Welcome, or a connection and a sheet
bool Send(int socket, std::span<const char> bytes, std::span<const int> fds = {});

// What the receiving functions return instead of a length.
inline constexpr ssize_t kPeerGone = 0;
inline constexpr ssize_t kNothingWaits = -1;
inline constexpr ssize_t kTooLong = -2;  // the datagram, or its descriptors, did not fit; it is lost

// One datagram into `bytes`: its length, or one of the three above. Never blocks. An empty datagram reads as
// kPeerGone, and nobody who follows the protocol sends one.
ssize_t Receive(int socket, std::span<char> bytes);

// As Receive, for the broker's own sockets: up to kFdsPerMessageMax descriptors may come along. `fds` takes
// the first ones that did.
ssize_t ReceiveWithFds(int socket, std::span<char> bytes, std::span<Fd> fds);

}  // namespace nvshim::broker

#endif  // BROKER_IO_SOCKET_H_
