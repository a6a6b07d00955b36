// The parts of the command line that are about the policy: the options that choose one, and `gpu-broker
// policy`, which prints it.
#ifndef BROKER_POLICY_COMMAND_H_
#define BROKER_POLICY_COMMAND_H_

#include <CLI/CLI.hpp>
#include <string>

#include "absl/status/statusor.h"
#include "broker/policy/policy.h"

namespace nvshim::broker {

// --policy, --capabilities, and --policy-shadow.
void AddPolicyFlags(CLI::App& app, PolicyOptions& options);

class PolicyCommand {
 public:
  // Adds the subcommands to `app`; both must stay where they are until the command line is parsed and run.
  explicit PolicyCommand(CLI::App& app);

  bool IsAsked() const { return command_->parsed(); }
  // What is to be printed.
  absl::StatusOr<std::string> Run() const;

 private:
  absl::StatusOr<std::string> Diff(const Policy& policy) const;

  CLI::App* command_;
  CLI::App* list_;
  CLI::App* explain_;
  CLI::App* diff_;
  PolicyOptions options_;
  std::string driver_version_;
  std::string call_;                   // of explain
  std::vector<std::string> versions_;  // of diff: none or two
  bool as_json_ = false;
};

}  // namespace nvshim::broker

#endif  // BROKER_POLICY_COMMAND_H_
