// NV_ESC_RM_ALLOC_MEMORY of class NV01_MEMORY_SYSTEM_OS_DESCRIPTOR: a call about memory of the host program's
// own, which is planned before the worker hears of it and swapped when it has agreed. Any thread.
#ifndef PRELOAD_REGISTER_HOST_MEMORY_H_
#define PRELOAD_REGISTER_HOST_MEMORY_H_

#include <cstdint>

#include "preload/answer.h"
#include "preload/marshal.h"
#include "preload/process.h"

namespace nvshim::preload {

// True when `call`, gathered for a GPU file, is such a call.
bool RegistersHostMemory(const GatheredCall& call);

// Carries it out on the file `file_id`.
Answer RegisterHostMemory(Session& session, uint32_t file_id, GatheredCall& call);

}  // namespace nvshim::preload

#endif  // PRELOAD_REGISTER_HOST_MEMORY_H_
