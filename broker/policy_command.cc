#include "broker/policy_command.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "broker/policy/report.h"
#include "proto/abi/spec.h"

namespace nvshim::broker {
namespace {

absl::StatusOr<const abi::Table*> TableOf(const std::string& version) {
  if (const abi::Table* table = abi::FindTable(version)) return table;
  return absl::NotFoundError(absl::StrCat("there is no table of driver version '", version,
                                          "'; gpu-broker abi list prints those there are"));
}

// The one of `version`; with "" all.
absl::StatusOr<std::vector<const abi::Table*>> TablesOf(const std::string& version) {
  if (version.empty()) return std::vector<const abi::Table*>(abi::Tables().begin(), abi::Tables().end());
  auto table = TableOf(version);
  if (!table.ok()) return table.status();
  return std::vector<const abi::Table*>{*table};
}

}  // namespace

void AddPolicyFlags(CLI::App& app, PolicyOptions& options) {
  app.add_option(
         "--policy", options.files,
         "A policy file, read after those that are built in; may be repeated, and the last rule for a call "
         "counts")
      ->type_name("FILE")
      ->allow_extra_args(false);
  app.add_option("--capabilities", options.capabilities,
                 "What guests may do, beside opening the driver: compute, utility, profiling, video, "
                 "graphics, fabric, "
                 "rdma, or what a policy file names")
      ->type_name("NAME,...")
      ->delimiter(',')
      ->capture_default_str();
  app.add_flag("--policy-shadow", options.shadow,
               "Let pass what the policy denies and the broker can follow, and count and log it");
}

PolicyCommand::PolicyCommand(CLI::App& app) {
  command_ =
      app.add_subcommand("policy", "What guests get of each call of the driver")->require_subcommand(1);
  list_ = command_->add_subcommand("list", "Print the verdict of every call");
  list_->add_flag("--json", as_json_, "Print JSON");
  explain_ = command_->add_subcommand("explain", "Print what is known of a call");
  explain_->add_option("CALL", call_, "Its number, or NVIDIA's name for it or a part of that")->required();
  diff_ = command_->add_subcommand(
      "diff", "Print what guests get differently: of two driver versions, or by the policy options");
  diff_->add_option("VERSIONS", versions_, "Two driver versions")->expected(0, 2);
  AddPolicyFlags(*command_, options_);
  command_->add_option("--driver-version", driver_version_,
                       "Of this version, as gpu-broker abi list prints it");
  for (CLI::App* command : {list_, explain_, diff_}) command->fallthrough();
}

absl::StatusOr<std::string> PolicyCommand::Run() const {
  auto policy = Policy::Load(options_);
  if (!policy.ok()) return policy.status();
  if (*diff_) return Diff(*policy);
  auto tables = TablesOf(driver_version_);
  if (!tables.ok()) return tables.status();
  if (*explain_) return ExplainCall(*policy, *tables, call_);
  return as_json_ ? PolicyListJson(*policy, *tables->back()) : PolicyListText(*policy, *tables->back());
}

absl::StatusOr<std::string> PolicyCommand::Diff(const Policy& policy) const {
  if (versions_.size() == 1)
    return absl::InvalidArgumentError("policy diff wants two driver versions, or none");
  if (versions_.size() == 2) {
    const auto from = TableOf(versions_[0]), to = TableOf(versions_[1]);
    if (!from.ok()) return from.status();
    if (!to.ok()) return to.status();
    return PolicyDiffOfVersions(policy, **from, **to);
  }
  auto tables = TablesOf(driver_version_);
  if (!tables.ok()) return tables.status();
  const auto built_in = Policy::Load(PolicyOptions());
  if (!built_in.ok()) return built_in.status();
  return PolicyDiffOfPolicies(*built_in, policy, *tables);
}

}  // namespace nvshim::broker
