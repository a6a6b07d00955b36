// The subcommands of gpu-brokerctl that ask, or look after, a running broker. Each adds itself to the command
// line; main.cc lists them.
#ifndef BROKER_CTL_SUBCOMMANDS_H_
#define BROKER_CTL_SUBCOMMANDS_H_

#include <CLI/CLI.hpp>
#include <string>

#include "broker/command.h"
#include "broker/default_socket.h"

namespace nvshim::broker::ctl {

// What stands before the subcommand, or behind it. Outlives the command line.
struct Common {
  std::string socket = kDefaultSocket;  // the guests'; the control socket lies beside it
  AskedCommand asked;
};

void AddDoctor(CLI::App& app, Common* common);
void AddStats(CLI::App& app, Common* common);
void AddGuests(CLI::App& app, Common* common);
void AddInfo(CLI::App& app, Common* common);
void AddReload(CLI::App& app, Common* common);
void AddDrain(CLI::App& app, Common* common);
void AddCdi(CLI::App& app, Common* common);
void AddSeccomp(CLI::App& app, Common* common);
void AddTop(CLI::App& app, Common* common);

}  // namespace nvshim::broker::ctl

#endif  // BROKER_CTL_SUBCOMMANDS_H_
