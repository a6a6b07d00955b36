// The core's own numbers: what resource.h gives a guest unless the operator says otherwise, and the bounds
// that nobody can set, each with its reason.
#ifndef BROKER_CORE_LIMITS_H_
#define BROKER_CORE_LIMITS_H_

#include <cstddef>
#include <cstdint>

#include "proto/wire/region.h"

namespace nvshim::broker {

// Of each guest by default; the reasons stand in the table of resource.h.
inline constexpr uint64_t kProcessesPerGuest = 1024;
inline constexpr uint64_t kClientsPerGuest = 4096;
inline constexpr uint64_t kObjectsPerGuest = 1u << 17;
inline constexpr uint64_t kChannelsPerGuest = 4096;
inline constexpr uint64_t kLanesPerGuest = kProcessesPerGuest * wire::kLaneCount;
inline constexpr uint64_t kCallBytesPerGuest = 64u << 20;

// A file's id keeps its index in 12 bits; the driver's own numbers of clients have 20.
inline constexpr uint32_t kFilesPerGuestMax = 1u << 12;
inline constexpr uint32_t kClientsPerGuestMax = 1u << 20;

// What a lane keeps of a call's bytes for the next one. Nearly all calls are smaller; larger ones allocate.
inline constexpr size_t kKeptBytesPerLaneMax = 4096;

}  // namespace nvshim::broker

#endif  // BROKER_CORE_LIMITS_H_
