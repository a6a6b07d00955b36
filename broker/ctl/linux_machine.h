// The machine that this program runs on, for gpu-brokerctl doctor.
#ifndef BROKER_CTL_LINUX_MACHINE_H_
#define BROKER_CTL_LINUX_MACHINE_H_

#include <memory>
#include <string>

#include "broker/ctl/doctor.h"

namespace nvshim::broker::ctl {

// `socket` is that of the guests of the broker to be asked.
std::unique_ptr<Machine> MakeLinuxMachine(const std::string& socket);

}  // namespace nvshim::broker::ctl

#endif  // BROKER_CTL_LINUX_MACHINE_H_
