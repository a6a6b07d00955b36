// How one guest process is reached: a shared region, a stream of messages, a way to wake it, a way to hand it
// something to map. On one kernel these are a sealed memfd, a Unix socket, a futex and SCM_RIGHTS; a VM
// brings its own four. Nothing above this interface may assume more.
#ifndef BROKER_IO_TRANSPORT_H_
#define BROKER_IO_TRANSPORT_H_

#include <memory>

#include "absl/status/statusor.h"
#include "broker/io/fd.h"
#include "broker/io/region.h"
#include "proto/frame.pb.h"

namespace nvshim::broker {

class Transport {
 public:
  virtual ~Transport() = default;

  virtual Region& region() = 0;

  // Polls readable each time the guest rings. What the guest does to its counter means nothing.
  virtual int doorbell() const = 0;

  // Takes back the rings so far: a poll that begins now reports later ones only. Never waits.
  virtual void SilenceDoorbell() = 0;

  // Becomes readable or hangs up when the guest process is gone.
  virtual int channel() const = 0;

  // Sends Welcome with what the guest needs to reach the region. False: the guest is gone.
  virtual bool SendWelcome(const Welcome& welcome) = 0;

  // Hands `fd` to the guest, for the call `sequence` on `lane`. False: the guest does not take it.
  virtual bool SendFd(uint32_t lane, uint32_t sequence, int fd) = 0;

  // Wakes the thread that sleeps on `lane`.
  virtual void Wake(uint32_t lane) = 0;

  // Wakes the thread that sleeps on the region's doorbell_state. Any thread.
  virtual void WakeDoorbellWatch() = 0;
};

// The transport of processes on the same kernel. `connection` is the accepted channel.
absl::StatusOr<std::unique_ptr<Transport>> CreateUnixTransport(Fd connection);

}  // namespace nvshim::broker

#endif  // BROKER_IO_TRANSPORT_H_
