#include "broker/run/filter.h"

#include <seccomp.h>
#include <sys/prctl.h>

#include <algorithm>
#include <cerrno>
#include <memory>

#include "proto/abi/spec.h"

namespace nvshim::broker {
namespace {

constexpr uint32_t kAllBits = 0xffffffff;

// Numbers 1 to 511: all with one of these as their highest bit.
constexpr uint32_t kHighestBitMax = 8;

// uvm_ioctl.h; asked by nobody that the tables know.
constexpr uint32_t UVM_IS_8_SUPPORTED = 2047;

absl::Status Error(int negative_errno, const char* what) {
  return absl::ErrnoToStatus(-negative_errno, what);
}

absl::Status AddRule(scmp_filter_ctx filter, const RequestRule& rule) {
  // A comparison under a mask leaves the high half of the register out; the plain one compares 64 bits.
  const int result =
      seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(ioctl), 1,
                       SCMP_A1(SCMP_CMP_MASKED_EQ, scmp_datum_t{rule.mask}, scmp_datum_t{rule.value}));
  return result == 0 ? absl::OkStatus() : Error(result, "seccomp_rule_add");
}

}  // namespace

std::vector<RequestRule> RefusedRequests() {
  std::vector<RequestRule> rules = {{0xff00, abi::kEscapeType << 8}, {kAllBits, UVM_IS_8_SUPPORTED}};
  for (uint32_t bit = 0; bit <= kHighestBitMax; ++bit) rules.push_back({kAllBits << bit, 1u << bit});
  for (const abi::Table* table : abi::Tables())
    for (const abi::Spec& spec : table->uvm)
      if (std::none_of(rules.begin(), rules.end(),
                       [&](const auto& rule) { return rule.Matches(spec.number); }))
        rules.push_back({kAllBits, spec.number});
  return rules;
}

absl::Status InstallFilter() {
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return absl::ErrnoToStatus(errno, "PR_SET_NO_NEW_PRIVS");
  const std::unique_ptr<void, void (*)(void*)> filter(seccomp_init(SCMP_ACT_ALLOW), seccomp_release);
  if (!filter) return absl::ResourceExhaustedError("seccomp_init");
  if (int result = seccomp_attr_set(filter.get(), SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ERRNO(ENOSYS)))
    return Error(result, "seccomp_attr_set");
  if (int result = seccomp_arch_add(filter.get(), SCMP_ARCH_X86)) return Error(result, "seccomp_arch_add");
  for (const RequestRule& rule : RefusedRequests())
    if (auto status = AddRule(filter.get(), rule); !status.ok()) return status;
  if (int result = seccomp_load(filter.get())) return Error(result, "seccomp_load");
  return absl::OkStatus();
}

}  // namespace nvshim::broker
