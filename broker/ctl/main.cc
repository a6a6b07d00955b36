// gpu-brokerctl: what an operator asks a running gpu-broker over its control socket, and what is built in of
// driver versions, limits and the policy. It decides nothing: who may is the mode of the control socket. One
// thread.
#include <CLI/CLI.hpp>
#include <cstdio>

#include "broker/abi_list.h"
#include "broker/cli/description.h"
#include "broker/command.h"
#include "broker/ctl/subcommands.h"
#include "broker/limits_command.h"
#include "broker/policy_command.h"
#include "broker/version.h"

namespace nvshim::broker::ctl {
namespace {

constexpr void (*kSubcommands[])(CLI::App& app, Common* common) = {
    AddStats, AddTop, AddDoctor, AddGuests, AddInfo, AddReload, AddDrain, AddCdi, AddSeccomp,
};

constexpr void (*kBuiltInSubcommands[])(CLI::App& app, AskedCommand* asked) = {
    AddAbiCommand,
    AddLimitsCommand,
    AddPolicyCommand,
};

int Main(int argc, char** argv) {
  Common common;
  CLI::App app("Asks a running gpu-broker, and tells it what to do.", "gpu-brokerctl");
  app.set_version_flag("--version", kVersion);
  AddDescribeFlag(app);
  app.require_subcommand(1)->fallthrough();
  app.add_option("--socket", common.socket, "The running broker's --socket")->capture_default_str();
  for (const auto add : kSubcommands) add(app, &common);
  for (const auto add : kBuiltInSubcommands) add(app, &common.asked);
  app.add_subcommand("version", "Print the version")->callback([&] {
    common.asked.run = [] { return std::puts(kVersion) < 0; };
  });
  CLI11_PARSE(app, argc, argv);
  return common.asked.run();
}

}  // namespace
}  // namespace nvshim::broker::ctl

int main(int argc, char** argv) { return nvshim::broker::ctl::Main(argc, argv); }
