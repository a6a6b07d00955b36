// What a guest gets of each call that the ABI table knows: one verdict per spec, made from the policy files
// when the broker starts or reloads its settings (broker/policy). Every verdict is one that code stands
// behind: HasCode says where. Limits, quotas and the layout in the table hold whatever the verdict. Pure.
#ifndef BROKER_CORE_VERDICT_H_
#define BROKER_CORE_VERDICT_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "proto/abi/spec.h"

namespace nvshim::broker {

enum class Kind : uint8_t { kEscape, kControl, kClass, kUvm };
inline constexpr Kind kKinds[] = {Kind::kEscape, Kind::kControl, Kind::kClass, Kind::kUvm};
inline constexpr const char* kKindNames[] = {"escape", "control", "class", "uvm"};

enum class Verdict : uint8_t {
  kDeny,    // answered as if the driver did not know it
  kAllow,   // passes: it holds nothing but values
  kCheck,   // passes once its handles, files and buffers are found to be the guest's (request_check,
            // translate)
  kFilter,  // as kCheck, and the answer is rewritten (filter)
  kClamp,   // as kCheck, and an argument is limited (intervene)
  kAnswer,  // the core answers NV_OK by itself, once the handles are found to be the guest's (intervene)
  kShadow,  // would be denied; passes as it would without a policy, and is counted
};
inline constexpr const char* kVerdictNames[] = {"deny",  "allow",  "check", "filter",
                                                "clamp", "answer", "shadow"};

// The controls whose arguments are limited, or that the core answers itself (intervene.h).
inline constexpr uint32_t NVA06C_CTRL_CMD_SET_TIMESLICE = 0xa06c0103;
inline constexpr uint32_t kAnsweredControls[] = {
    0x00801909,  // NV0080_CTRL_CMD_PERF_CUDA_LIMIT_SET_CONTROL
    0x20800407,  // NV2080_CTRL_CMD_TIMER_SET_GR_TICK_FREQ
    0x20801702,  // NV2080_CTRL_CMD_MC_SERVICE_INTERRUPTS
    0x2080200a,  // NV2080_CTRL_CMD_PERF_BOOST
    0x2080220c,  // NV2080_CTRL_CMD_RC_RELEASE_WATCHDOG_REQUESTS
    0x20802210,  // NV2080_CTRL_CMD_RC_SOFT_DISABLE_WATCHDOG
};

// Whether the core can do what `verdict` says to this spec. Some can only be denied, because the core cannot
// follow them: controls and classes that name files, and a few whose structs a spec cannot describe.
bool HasCode(Kind kind, const abi::Spec& spec, Verdict verdict);

// The specs of a table, of one kind; of the controls without the one of a range.
const abi::SpecList& SpecsOf(const abi::Table& table, Kind kind);

class Verdicts {
 public:
  // All denied. `table` must live as long as this.
  explicit Verdicts(const abi::Table& table);

  // No policy: what the table does not withhold is served, with every check, filter, clamp and answer.
  static Verdicts OfTable(const abi::Table& table);

  // One letter for each spec of the table, in its order; and back. Nothing when `letters` is not of this
  // table.
  std::string Encode(const abi::Table& table) const;
  static std::optional<Verdicts> Decode(const abi::Table& table, std::string_view letters);

  void Set(const abi::Spec& spec, Verdict verdict) { verdicts_[IndexOf(spec)] = verdict; }
  // `spec` is one of the table's.
  Verdict Of(const abi::Spec& spec) const { return verdicts_[IndexOf(spec)]; }

 private:
  // The specs of all tables stand in one array.
  size_t IndexOf(const abi::Spec& spec) const { return static_cast<size_t>(&spec - specs_); }

  const abi::Spec* specs_;
  std::vector<Verdict> verdicts_;  // by index in specs_
};

}  // namespace nvshim::broker

#endif  // BROKER_CORE_VERDICT_H_
