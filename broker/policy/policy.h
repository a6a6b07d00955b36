// The policy: text files (proto/policy.proto) that say what guests get of each call, those that are built in
// and those of an operator, and the verdicts that they come to for one driver version. Read once, when the
// broker starts or a subcommand asks; no guest's bytes come here. A file with a mistake is refused whole,
// with its name and line.
#ifndef BROKER_POLICY_POLICY_H_
#define BROKER_POLICY_POLICY_H_

#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "broker/core/verdict.h"
#include "proto/abi/spec.h"

namespace nvshim::broker {

// One rule, checked.
struct PolicyRule {
  std::string file;  // "proto/policy/base.textproto" or as the operator gave it
  int line = 0;
  std::string capability;  // of its file
  Kind kind = Kind::kEscape;
  uint32_t first = 0, last = 0;  // numbers
  std::string name;              // or empty
  Verdict verdict = Verdict::kDeny;
  std::string reason;
  size_t since = 0, until = 0;  // indices in abi::Tables(), the second excluded
  bool unlisted = false;
};

// What the policy says to one spec of one table.
struct Ruling {
  Kind kind;
  const abi::Spec* spec;
  const PolicyRule* rule;  // that decides; null: none is about it
  Verdict verdict;         // with capabilities and shadow considered
  bool is_off;             // denied because the rule's capability is not on
};

// Files that are built in, in the order in which they are read.
struct BuiltInPolicy {
  const char* name;
  const char* text;
};
const std::vector<BuiltInPolicy>& BuiltInPolicies();

struct PolicyOptions {
  std::vector<std::string> files;  // of the operator, in order; read from disk
  std::set<std::string> capabilities = {"compute", "utility"};
  bool shadow = false;  // what is denied passes, where the core has code for it
};

class Policy {
 public:
  // The rules of the built-in files, then those of the operator's.
  static absl::StatusOr<Policy> Load(const PolicyOptions& options);

  // The same with the texts at hand, as (name, text).
  static absl::StatusOr<Policy> Parse(const std::vector<std::pair<std::string, std::string>>& texts,
                                      const PolicyOptions& options);

  // One for each spec of `table`, by kind and number; that of a range of controls is last of its kind.
  // `table` is one of abi::Tables().
  std::vector<Ruling> RulingsOf(const abi::Table& table) const;
  Verdicts VerdictsOf(const abi::Table& table) const;

  // In the order in which they were read.
  const std::vector<PolicyRule>& rules() const { return *rules_; }
  bool IsOn(const PolicyRule& rule) const;

 private:
  Policy(std::vector<PolicyRule> rules, const PolicyOptions& options)
      : rules_(std::make_shared<const std::vector<PolicyRule>>(std::move(rules))),
        capabilities_(options.capabilities),
        shadow_(options.shadow) {}

  std::shared_ptr<const std::vector<PolicyRule>> rules_;  // rulings point into it
  std::set<std::string> capabilities_;
  bool shadow_;
};

// "0x2080200a" for a control, "0x29" for an escape.
std::string NumberText(uint32_t number);

}  // namespace nvshim::broker

#endif  // BROKER_POLICY_POLICY_H_
