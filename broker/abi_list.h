// `gpu-broker abi list`: the driver versions that the built-in ABI tables know, with the number of calls in
// each.
#ifndef BROKER_ABI_LIST_H_
#define BROKER_ABI_LIST_H_

#include <CLI/CLI.hpp>
#include <string>

#include "broker/command.h"

namespace nvshim::broker {

// A table to read, or an array of objects; both end with a newline. Oldest version first.
std::string AbiListText();
std::string AbiListJson();

// Adds the subcommand `abi`. `asked` outlives `app`.
void AddAbiCommand(CLI::App& app, AskedCommand* asked);

}  // namespace nvshim::broker

#endif  // BROKER_ABI_LIST_H_
