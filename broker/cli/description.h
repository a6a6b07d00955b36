// What a program's command line takes, as JSON: the completions of shells, the settings file of the package
// and the tests of the manual pages are made from it, so that these cannot say something else than the
// program.
#ifndef BROKER_CLI_DESCRIPTION_H_
#define BROKER_CLI_DESCRIPTION_H_

#include <CLI/CLI.hpp>
#include <string>

namespace nvshim::broker {

// An object for `app`, without what it hides, and one for each of its subcommands inside of it:
//   name, description
//   options      names (with their dashes), description, value (its kind; none for a flag), choices, default,
//                repeatable, setting (whether it may stand in a settings file)
//   subcommands  of the same form
//   runs_command whether the command line goes on with a command of its own
std::string DescriptionJson(const CLI::App& app);

// The hidden flag --describe, which prints that and ends the program.
void AddDescribeFlag(CLI::App& app);

}  // namespace nvshim::broker

#endif  // BROKER_CLI_DESCRIPTION_H_
