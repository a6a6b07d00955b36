// The driver of a machine with NVIDIA GPUs: each call becomes an ioctl on a device file that this process has
// open. RM knows the process that made a client, takes privilege from it, and lets clients of one process
// share objects; so a process that uses this serves one guest and has no capabilities (broker/sandbox). From
// any thread: no lock is held while the kernel works, but for frees and mappings. A thread of its own waits
// for events.
//
// What it adds to an ioctl, with the reasons in docs/kernel_driver.md: pointers and descriptors of this
// process in place of the guest's; a few answers of its own; UVM files that belong to no process's memory;
// the guest's pages, in files that both map; and the order in which mapped GPU memory may be freed
// (guest_mappings.h).
#ifndef BROKER_DRIVER_KERNEL_KERNEL_DRIVER_H_
#define BROKER_DRIVER_KERNEL_KERNEL_DRIVER_H_

#include <memory>

#include "absl/status/statusor.h"
#include "broker/driver/driver.h"
#include "broker/driver/kernel/kernel.h"

namespace nvshim::broker::kernel {

// Opens every GPU and keeps it open: RM refuses devices on GPUs that the calling process does not have open.
// `kernel` must outlive the driver. Errors are discovery.h's.
absl::StatusOr<std::unique_ptr<Driver>> CreateKernelDriver(Kernel& kernel);

}  // namespace nvshim::broker::kernel

#endif  // BROKER_DRIVER_KERNEL_KERNEL_DRIVER_H_
