// The system calls that a worker has left once it serves. A guest that has taken over its worker through a
// bug gets no program started, no process, no connection to anybody, no memory that can be executed: it is
// left with what the worker holds, which is one guest's, and with files that the broker's user may read.
#ifndef BROKER_SANDBOX_SYSTEM_CALLS_H_
#define BROKER_SANDBOX_SYSTEM_CALLS_H_

#include "absl/status/status.h"

namespace nvshim::broker {

// Not in builds with a sanitizer, whose runtime needs other calls.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool kConfinesSystemCalls = false;
#elif defined(__has_feature)
inline constexpr bool kConfinesSystemCalls =
    !__has_feature(address_sanitizer) && !__has_feature(thread_sanitizer);
#else
inline constexpr bool kConfinesSystemCalls = true;
#endif

// Of all threads of the process, those that are there and those that come, for good. What is not left fails
// with EPERM. System calls of other architectures end the process.
absl::Status ConfineSystemCalls();

}  // namespace nvshim::broker

#endif  // BROKER_SANDBOX_SYSTEM_CALLS_H_
