// What `gpu-broker policy` prints of a policy: the verdicts of a driver version, what is known of one call,
// and what differs between two versions or two policies. Texts end with a newline, or are empty.
#ifndef BROKER_POLICY_REPORT_H_
#define BROKER_POLICY_REPORT_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "broker/policy/policy.h"
#include "proto/abi/spec.h"

namespace nvshim::broker {

// A line for each spec, or an array of objects.
std::string PolicyListText(const Policy& policy, const abi::Table& table);
std::string PolicyListJson(const Policy& policy, const abi::Table& table);

// What is known of a call, by its number ("0x2080200a", "545267722") or NVIDIA's name, whole or a part; in
// each of `tables`. An error when nothing is.
absl::StatusOr<std::string> ExplainCall(const Policy& policy, const std::vector<const abi::Table*>& tables,
                                        const std::string& number_or_name);

// A line for each call that guests get differently, with both verdicts and the reason of the second.
std::string PolicyDiffOfVersions(const Policy& policy, const abi::Table& from, const abi::Table& to);
std::string PolicyDiffOfPolicies(const Policy& from, const Policy& to,
                                 const std::vector<const abi::Table*>& tables);

}  // namespace nvshim::broker

#endif  // BROKER_POLICY_REPORT_H_
