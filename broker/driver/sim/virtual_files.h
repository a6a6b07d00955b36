// The files below /proc and /sys that NVIDIA's clients read: what a loaded driver with these GPUs would show.
#ifndef BROKER_DRIVER_SIM_VIRTUAL_FILES_H_
#define BROKER_DRIVER_SIM_VIRTUAL_FILES_H_

#include <string>
#include <utility>
#include <vector>

#include "broker/driver/sim/machine.h"

namespace nvshim::broker::sim {

// Absolute paths and contents.
std::vector<std::pair<std::string, std::string>> VirtualFiles(const Machine& machine, uint32_t uvm_major);

}  // namespace nvshim::broker::sim

#endif  // BROKER_DRIVER_SIM_VIRTUAL_FILES_H_
