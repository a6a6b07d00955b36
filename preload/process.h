// This process as the broker knows it: connected on first need, once, by one thread while the others wait;
// pristine again in a forked child, which connects as itself; untouched by a vfork child, which runs in its
// parent's memory.
//
//     idle --Attach--> ready --worker gone, or its descriptors closed--> lost (until exec or fork)
//       ^                |
//       +---- fork ------+
//
// All memory is static or mapped once. Nothing connects before a path or a descriptor of NVIDIA's is asked
// for.
#ifndef PRELOAD_PROCESS_H_
#define PRELOAD_PROCESS_H_

#include <atomic>
#include <cstdint>

#include "preload/channel.h"
#include "preload/codec.h"
#include "preload/fd_table.h"
#include "preload/lane.h"
#include "preload/pool.h"
#include "proto/abi/spec.h"

namespace nvshim::preload {

// What a connected process works with. Written under the connect lock, read-only afterwards.
struct Session {
  Channel channel;
  LaneSet lanes;
  Pool pool;
  Welcome welcome;  // views into memory that stays
  const abi::Table* table = nullptr;
  void* region = nullptr;

  // True when the broker shows this guest /dev/nvidia<minor>.
  bool HasGpu(uint32_t minor) const;
};

// The cache of all fds of this process.
FdTable& fd_table();

// True when this process may change the state of this library. False in a vfork child and in anything else
// that shares its parent's memory: such a caller passes everything through. In a forked child that no atfork
// handler told
// (_Fork, clone), resets the state first.
bool OwnsState();

// The session, connecting when there is none yet. Null with an errno in `error`: ENOENT when no broker
// answers, ENODEV when it refuses, speaks another language, or is gone for good. Requires OwnsState().
Session* Attach(int* error);

// The session when there is one, however broken. Null in an idle process; connects nothing.
Session* CurrentSession();

// From now on descriptors of this process name files of its worker, so a lost connection cannot be replaced.
void NoteFileOpened();

// Called by the library's constructor: registers the fork handler, remembers the pid.
void InitProcess();

}  // namespace nvshim::preload

#endif  // PRELOAD_PROCESS_H_
