// The classes that NV_ESC_RM_ALLOC knows: which object may be the parent, who may make one. The facts of RM's
// resource list; one row per class. Which of them a driver version has, and how large their parameters are,
// the ABI tables say.
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

struct ClassRule {
  uint32_t number;
  Kind kind;
  uint32_t parents;  // Bit() of the kinds
  bool per_chip;     // exists only where the chip's class list names it
  bool privileged;   // RM wants an administrator or the kernel
  std::string_view name;
};

// Null for a number that RM does not know.
const ClassRule* FindClass(uint32_t number);
std::span<const ClassRule> ClassRules();

}  // namespace nvshim::broker::sim

#endif  // BROKER_DRIVER_SIM_CLASS_RULES_H_
