#include "broker/policy_command.h"

#include <memory>
#include <string>
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

struct Options {
  PolicyOptions policy;
  std::string driver_version;
  std::string call;                   // of explain
  std::vector<std::string> versions;  // of diff: none or two
  bool as_json = false;
};

absl::StatusOr<std::string> List(const Options& options) {
  auto policy = Policy::Load(options.policy);
  if (!policy.ok()) return policy.status();
  auto tables = TablesOf(options.driver_version);
  if (!tables.ok()) return tables.status();
  return options.as_json ? PolicyListJson(*policy, *tables->back())
                         : PolicyListText(*policy, *tables->back());
}

absl::StatusOr<std::string> Explain(const Options& options) {
  auto policy = Policy::Load(options.policy);
  if (!policy.ok()) return policy.status();
  auto tables = TablesOf(options.driver_version);
  if (!tables.ok()) return tables.status();
  return ExplainCall(*policy, *tables, options.call);
}

absl::StatusOr<std::string> Diff(const Options& options) {
  auto policy = Policy::Load(options.policy);
  if (!policy.ok()) return policy.status();
  if (options.versions.size() == 1)
    return absl::InvalidArgumentError("policy diff wants two driver versions, or none");
  if (options.versions.size() == 2) {
    const auto from = TableOf(options.versions[0]), to = TableOf(options.versions[1]);
    if (!from.ok()) return from.status();
    if (!to.ok()) return to.status();
    return PolicyDiffOfVersions(*policy, **from, **to);
  }
  auto tables = TablesOf(options.driver_version);
  if (!tables.ok()) return tables.status();
  const auto built_in = Policy::Load(PolicyOptions());
  if (!built_in.ok()) return built_in.status();
  return PolicyDiffOfPolicies(*built_in, *policy, *tables);
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

void AddPolicyCommand(CLI::App& app, AskedCommand* asked) {
  CLI::App* command =
      app.add_subcommand("policy", "What guests get of each call of the driver")->require_subcommand(1);
  const auto options = std::make_shared<Options>();
  AddPolicyFlags(*command, options->policy);
  command->add_option("--driver-version", options->driver_version,
                      "Of this version, as gpu-broker abi list prints it");
  const auto add = [&](const char* name, const char* description,
                       absl::StatusOr<std::string> (*text)(const Options&)) {
    CLI::App* one = command->add_subcommand(name, description);
    one->fallthrough();
    one->callback([=] { asked->run = [=] { return Print(text(*options)); }; });
    return one;
  };
  add("list", "Print the verdict of every call", List)->add_flag("--json", options->as_json, "Print JSON");
  add("explain", "Print what is known of a call", Explain)
      ->add_option("CALL", options->call, "Its number, or NVIDIA's name for it or a part of that")
      ->required();
  add("diff", "Print what guests get differently: of two driver versions, or by the policy options", Diff)
      ->add_option("VERSIONS", options->versions, "Two driver versions")
      ->expected(0, 2);
}

}  // namespace nvshim::broker
