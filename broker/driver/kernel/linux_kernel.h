// The kernel this machine runs.
#ifndef BROKER_DRIVER_KERNEL_LINUX_KERNEL_H_
#define BROKER_DRIVER_KERNEL_LINUX_KERNEL_H_

#include <memory>

#include "broker/driver/kernel/kernel.h"

namespace nvshim::broker::kernel {

std::unique_ptr<Kernel> MakeLinuxKernel();

}  // namespace nvshim::broker::kernel

#endif  // BROKER_DRIVER_KERNEL_LINUX_KERNEL_H_
