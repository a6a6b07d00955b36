// Introduces this process to the broker: finds the socket, says Hello, reads Welcome, maps the region. One
// thread, with signals blocked, once per process; every wait is bounded. What comes back is checked against
// this build's layout.
#ifndef PRELOAD_HANDSHAKE_H_
#define PRELOAD_HANDSHAKE_H_

#include "preload/codec.h"
#include "proto/abi/spec.h"

namespace nvshim::preload {

// 256 virtual files of 4 KiB would be more, but no message on a Unix socket is that long: the kernel's
// default send buffer is 208 KiB.
inline constexpr size_t kWelcomeSizeBytesMax = 256u << 10;

struct HandshakeResult {
  int channel_fd = -1;   // parked high, FD_CLOEXEC
  int doorbell_fd = -1;  // likewise
  void* region = nullptr;
  const abi::Table* table = nullptr;
};

// Returns 0, or ENOENT (nobody answers) or ENODEV (refused, or not understood), after one line to the log.
// Strings of `welcome` point into `datagram`.
int Handshake(std::span<uint8_t> datagram, HandshakeResult* result, Welcome* welcome);

}  // namespace nvshim::preload

#endif  // PRELOAD_HANDSHAKE_H_
