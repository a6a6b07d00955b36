// The parts of the command line that are about the policy: the options that choose one, and `gpu-broker
// policy`, which prints it.
#ifndef BROKER_POLICY_COMMAND_H_
#define BROKER_POLICY_COMMAND_H_

#include <CLI/CLI.hpp>

#include "broker/command.h"
#include "broker/policy/policy.h"

namespace nvshim::broker {

// --policy, --capabilities, and --policy-shadow.
void AddPolicyFlags(CLI::App& app, PolicyOptions& options);

// Adds the subcommand `policy`. `asked` outlives `app`.
void AddPolicyCommand(CLI::App& app, AskedCommand* asked);

}  // namespace nvshim::broker

#endif  // BROKER_POLICY_COMMAND_H_
