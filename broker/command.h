// How a subcommand gets into a command line: it adds itself to the CLI11 app, and says what is to be run when
// it is the one that was named. So gpu-broker and gpu-brokerctl can have the same ones. One thread.
#ifndef BROKER_COMMAND_H_
#define BROKER_COMMAND_H_

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace nvshim::broker {

struct AskedCommand {
  std::function<int()> run;  // returns the exit status; empty: no subcommand was named
};

// Says on standard error, behind the name of the program, what is wrong. Returns the exit status.
int Fail(const absl::Status& status);

// Writes `text` to standard output as it is, or fails. Returns the exit status.
int Print(const absl::StatusOr<std::string>& text);

}  // namespace nvshim::broker

#endif  // BROKER_COMMAND_H_
