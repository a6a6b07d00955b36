// A reply on the control socket, at both of its ends: one datagram, or a datagram and a memfd. How large a
// datagram may be is the machine's to say (net.core.wmem_default, mostly 208 KiB), and how much there is to
// tell is up to those who become guests: they must not be able to keep operators from asking.
#ifndef BROKER_SUPERVISOR_CONTROL_REPLY_H_
#define BROKER_SUPERVISOR_CONTROL_REPLY_H_

#include <cstddef>

#include "absl/status/statusor.h"
#include "proto/control.pb.h"

namespace nvshim::broker {

// Beyond this the reply goes into a memfd.
inline constexpr size_t kReplyDatagramBytesMax = 64 << 10;

// 4096 guests, each with the longest name that a control group can have, and room.
inline constexpr size_t kReplyBytesMax = 64 << 20;

// False when the peer is gone or has not read what it was sent before, when the machine is out of memory, and
// beyond kReplyBytesMax.
bool SendReply(int socket, const ControlReply& reply);

// The reply that waits at `socket`. Unavailable: the other end hung up, or what it says is no reply.
absl::StatusOr<ControlReply> ReceiveReply(int socket);

}  // namespace nvshim::broker

#endif  // BROKER_SUPERVISOR_CONTROL_REPLY_H_
