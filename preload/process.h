// This process as the broker knows it: connected on first need, once, by one thread while the others wait;
// pristine again in a forked child, which connects as itself; untouched by a vfork child, which runs in its
// parent's memory.
//
//     idle --Attach--> ready --worker gone, or its descriptors closed--> lost
//       ^                |  ^                                             |
//       +---- fork ------+  +------------ Attach (open, stat) ------------+
//
// A session that is lost stays lost for the files made in it: another worker is another guest instance, to
// which their placeholders mean nothing. If only the host program closed our descriptors, the worker and its
// files live on and are claimed anew. Nothing connects before a path or a descriptor of NVIDIA's is asked
// for.
#ifndef PRELOAD_PROCESS_H_
#define PRELOAD_PROCESS_H_

#include <atomic>
#include <cstdint>

#include "preload/channel.h"
#include "preload/codec.h"
#include "preload/doorbell_watch.h"
#include "preload/fd_table.h"
#include "preload/handshake.h"
#include "preload/host_memory.h"
#include "preload/lane.h"
#include "preload/mappable.h"
#include "preload/pool.h"
#include "proto/abi/spec.h"

namespace nvshim::preload {

// What a connected process works with. Made under the connect lock, unchanged afterwards but for what its
// members change themselves, and never unmapped, because other threads may be in the middle of a call: what a
// lost session leaks is bounded by how often workers die.
struct Session {
  Channel channel;
  LaneSet lanes;
  Pool pool;
  DoorbellWatch doorbells;
  Welcome welcome;  // views into `datagram`
  const abi::Table* table = nullptr;
  void* region = nullptr;
  std::atomic<uint32_t> registered_ctl{0};  // file id of the ctl file in the last NV_ESC_REGISTER_FD
  uint8_t datagram[kWelcomeSizeBytesMax];   // not initialised: few of its pages are ever touched

  // True when the broker shows this guest /dev/nvidia<minor>.
  bool HasGpu(uint32_t minor) const;
};

// The cache of all fds of this process.
FdTable& fd_table();

// What the UVM files of this process are mapped as.
MappableFiles& mappable_files();

// Memory of this process that the worker sees.
HostMemory& host_memory();

// Marks one of our own descriptors, so that the host program cannot close it by accident.
void Park(int fd);

// True when this process may change the state of this library. False in a vfork child and in anything else
// that shares its parent's memory: such a caller passes everything through. In a forked child that no atfork
// handler told (_Fork, clone), resets the state first.
bool OwnsState();

// A session that works as far as can be seen, connecting when there is none. Null with an errno in `error`:
// ENOENT when no broker answers, ENODEV when it refuses or speaks another language. Requires OwnsState().
Session* Attach(int* error);

// The session when there is one, however broken. Null in an idle process; connects nothing.
Session* CurrentSession();

// Called by the library's constructor: registers the fork handler, remembers the pid.
void InitProcess();

}  // namespace nvshim::preload

#endif  // PRELOAD_PROCESS_H_
