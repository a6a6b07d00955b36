// gpu-broker's command line.
#ifndef BROKER_COMMAND_LINE_H_
#define BROKER_COMMAND_LINE_H_

#include <memory>

#include "broker/driver/kernel/kernel.h"

namespace nvshim::broker {

// Where --driver=kernel finds its device files; called at most once in a process.
using MakeKernel = std::unique_ptr<kernel::Kernel> (*)();

// Returns the exit status.
int RunCommandLine(int argc, char** argv, MakeKernel make_kernel);

}  // namespace nvshim::broker

#endif  // BROKER_COMMAND_LINE_H_
