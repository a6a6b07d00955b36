// The kinds of things that a guest can use up, as a table: each with its unit, the bound that holds unless
// the operator sets another, the reason for that bound, and what the driver says to whom it turns away. Both
// levels, the guest and the uid, know the same kinds. docs/limits.md shows the table. Pure.
#ifndef BROKER_CORE_RESOURCE_H_
#define BROKER_CORE_RESOURCE_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string_view>

#include "broker/core/limits.h"
#include "broker/core/refusal.h"

namespace nvshim::broker {

enum class Resource : uint8_t {
  kVideoMemory,
  kPinnedMemory,
  kClients,
  kObjects,
  kChannels,
  kProcesses,
  kFiles,
  kLanes,
  kCallBytes,
  kFramesPerSecond,
  kCount,
};
inline constexpr size_t kResourceCount = static_cast<size_t>(Resource::kCount);

inline constexpr uint64_t kNoLimit = std::numeric_limits<uint64_t>::max();

enum class Unit : uint8_t { kNumber, kBytes, kPerSecond };

struct ResourceInfo {
  std::string_view name;  // in flags, statistics and logs
  Unit unit;
  uint64_t guest_default;  // of one guest. A uid has no limit by default
  uint64_t settable_max;   // the largest that a guest may be given; kNoLimit: also none
  std::string_view what;   // is counted
  std::string_view why;    // the default is what it is
  std::string_view over;   // what a guest at its limit is told; as the next three say it
  Reason reason;
  int error;        // errno of the call; 0: it returns 0 and `status` tells
  uint32_t status;  // NV_STATUS, when error is 0
};

inline constexpr std::array<ResourceInfo, kResourceCount> kResources = {{
    {"video_memory", Unit::kBytes, kNoLimit, kNoLimit,
     "what allocations of video memory ask for, rounded up as the driver does; duplicates share it",
     "how much a guest should have is for the operator to say", "NV_ERR_NO_MEMORY", Reason::kOverQuota, 0,
     NV_ERR_NO_MEMORY},
    {"pinned_memory", Unit::kBytes, kNoLimit, kNoLimit,
     "memory of the host that a GPU may reach: system memory objects, and memory of the program's own that "
     "it "
     "has registered",
     "how much a guest should have is for the operator to say", "NV_ERR_NO_MEMORY", Reason::kOverQuota, 0,
     NV_ERR_NO_MEMORY},
    {"clients", Unit::kNumber, kClientsPerGuest, kClientsPerGuestMax, "RM clients",
     "libcuda makes two or three in a process, nvidia-smi one: a thousand processes",
     "NV_ERR_INSUFFICIENT_RESOURCES", Reason::kOverLimit, 0, NV_ERR_INSUFFICIENT_RESOURCES},
    {"objects", Unit::kNumber, kObjectsPerGuest, kNoLimit, "RM objects below clients, duplicates included",
     "a CUDA context makes about a thousand: a hundred contexts and room. They are some 20 MB of the "
     "worker's",
     "NV_ERR_INSUFFICIENT_RESOURCES", Reason::kOverLimit, 0, NV_ERR_INSUFFICIENT_RESOURCES},
    {"channels", Unit::kNumber, kChannelsPerGuest, kNoLimit,
     "of these objects, the channels: a GPU has a few thousand of them for everybody",
     "a CUDA context makes 32 or fewer: a hundred contexts and room", "NV_ERR_INSUFFICIENT_RESOURCES",
     Reason::kOverLimit, 0, NV_ERR_INSUFFICIENT_RESOURCES},
    {"processes", Unit::kNumber, kProcessesPerGuest, kNoLimit, "processes that have said Hello",
     "a training job with many data loaders forks a few hundred that touch the GPU",
     "the connection is refused with EAGAIN: the program sees no GPU", Reason::kOverLimit, EAGAIN, 0},
    {"files", Unit::kNumber, kFilesPerGuestMax, kFilesPerGuestMax, "open device files",
     "a context opens about 40 and closes most of them again: a hundred contexts", "EMFILE",
     Reason::kOverLimit, EMFILE, 0},
    {"lanes", Unit::kNumber, kLanesPerGuest, kNoLimit,
     "lanes that have been called on: a thread inside a call needs one of its own, and leaves it to the next",
     "no more than there are in all processes", "ENOMEM", Reason::kOverLimit, ENOMEM, 0},
    {"call_bytes", Unit::kBytes, kCallBytesPerGuest, kNoLimit,
     "parameters of calls that are under way, as sent; a worker keeps them twice",
     "thirty of the largest calls that there can be at once; most are below a KiB", "ENOMEM",
     Reason::kOverLimit, ENOMEM, 0},
    {"frames_per_second", Unit::kPerSecond, kNoLimit, kNoLimit,
     "opens and ioctls; those of one second may come at once", "a guest that calls much costs its own worker",
     "no error: the call is served when its turn comes", Reason::kOverLimit, 0, 0},
}};

constexpr const ResourceInfo& InfoOf(Resource resource) { return kResources[static_cast<size_t>(resource)]; }

// A number for each kind.
class Amounts {
 public:
  constexpr uint64_t& operator[](Resource resource) { return values_[static_cast<size_t>(resource)]; }
  constexpr uint64_t operator[](Resource resource) const { return values_[static_cast<size_t>(resource)]; }
  bool operator==(const Amounts&) const = default;
  constexpr const std::array<uint64_t, kResourceCount>& values() const { return values_; }

 private:
  std::array<uint64_t, kResourceCount> values_{};
};
using Limits = Amounts;  // kNoLimit for none

// What the table says, and none at all.
constexpr Limits DefaultLimits() {
  Limits limits;
  for (size_t i = 0; i < kResourceCount; ++i) limits[static_cast<Resource>(i)] = kResources[i].guest_default;
  return limits;
}
constexpr Limits NoLimits() {
  Limits limits;
  for (size_t i = 0; i < kResourceCount; ++i) limits[static_cast<Resource>(i)] = kNoLimit;
  return limits;
}

// The kind of that name; nothing when there is none.
constexpr std::optional<Resource> FindResource(std::string_view name) {
  for (size_t i = 0; i < kResourceCount; ++i)
    if (kResources[i].name == name) return static_cast<Resource>(i);
  return std::nullopt;
}

// What a request is told that its guest, or its uid, has no more of this for.
constexpr Refusal OverLimit(Resource resource, uint64_t limit) {
  const ResourceInfo& info = InfoOf(resource);
  const auto number = static_cast<uint32_t>(info.unit == Unit::kBytes ? limit >> 20 : limit);
  return {info.reason, info.error, info.status, number};
}

}  // namespace nvshim::broker

#endif  // BROKER_CORE_RESOURCE_H_
