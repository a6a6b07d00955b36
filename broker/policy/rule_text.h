// Policy files as text: from bytes to rules, and what a rule by itself can have wrong. Whether a rule fits
// the tables is policy.h's business.
#ifndef BROKER_POLICY_RULE_TEXT_H_
#define BROKER_POLICY_RULE_TEXT_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "broker/policy/policy.h"

namespace nvshim::broker {

// Appends the rules of `text`. A complaint names `file` and the line.
absl::Status ReadRules(const std::string& file, const std::string& text, std::vector<PolicyRule>* rules);

}  // namespace nvshim::broker

#endif  // BROKER_POLICY_RULE_TEXT_H_
