// The classes that NV_ESC_RM_ALLOC knows: which object may be the parent, how large the parameters are, who
// may make one. The facts of RM's resource list for 535; one row per class. Sizes that other driver versions
// change are taken from the ABI tables by the broker before a call gets here.
#ifndef BROKER_DRIVER_SIM_CLASS_RULES_H_
#define BROKER_DRIVER_SIM_CLASS_RULES_H_

#include <cstdint>
#include <span>
#include <string_view>

namespace nvshim::broker::sim {

// RM's own classes, as far as the simulated driver tells them apart.
enum class Kind : uint8_t {
  kClient,
  kDevice,
  kSubdevice,
  kChannel,
  kChannelGroup,
  kDisplay,
  kDisplayCommon,
  kGpuInstance,
  kUserMode,
  kSystemMemory,
  kVideoMemory,
  kVirtualMemory,
  kOsDescMemory,
  kVaSpace,
  kContextShare,
  kEvent,
  kContextDma,
  kDebugger,
  kConfidentialCompute,
  kDiag,
  kEngineObject,  // compute, copy, decoder ... on a channel
  kOther,
};

constexpr uint32_t Bit(Kind kind) { return 1u << static_cast<uint32_t>(kind); }
inline constexpr uint32_t kAnyParent = ~0u;
inline constexpr uint32_t kNoParent = 0;  // a client

enum class Params : uint8_t { kNone, kOptional, kRequired };

struct ClassRule {
  uint32_t number;
  Kind kind;
  uint32_t parents;      // Bit() of the kinds
  uint32_t params_size;  // bytes
  Params params;
  bool per_chip;    // exists only where the chip's class list names it
  bool privileged;  // RM wants an administrator or the kernel
  std::string_view name;
};

// Null for a number that RM does not know.
const ClassRule* FindClass(uint32_t number);
std::span<const ClassRule> ClassRules();

}  // namespace nvshim::broker::sim

#endif  // BROKER_DRIVER_SIM_CLASS_RULES_H_
