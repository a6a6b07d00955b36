// The seccomp filter under which nvshim-run starts a program. With the kernel driver the memory of a GPU
// reaches a guest as a real device file, and a device file takes ioctls. Under the filter it takes none of
// NVIDIA's, so that such a file is good for mapping and waiting and nothing else; what the guest wants of the
// driver it has to ask its broker. Everything else stays allowed: this is no sandbox.
//
// Requests are told apart by their number alone, because a filter does not see what a descriptor is.
// Programs get EPERM for other drivers' requests of the same numbers:
//
//   type 'F'     the escapes of /dev/nvidiactl and /dev/nvidia<N>; also the framebuffers of /dev/fb<N>
//   1 to 511     UVM: calls from 1 on, a few more with each release, and the driver's own tests from 200 on;
//                also SCSI_IOCTL_SEND_COMMAND and its like, FIBMAP and FIGETBSZ, the last two of which
//                programs have other means for
//   2047         UVM_IS_8_SUPPORTED
//   0x3000000n   UVM_INITIALIZE, UVM_DEINITIALIZE
#ifndef BROKER_RUN_FILTER_H_
#define BROKER_RUN_FILTER_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"

namespace nvshim::broker {

// The requests whose bits under `mask` are `value`.
struct RequestRule {
  uint32_t mask;
  uint32_t value;

  bool Matches(uint32_t request) const { return (request & mask) == value; }
};

// What the filter refuses.
std::vector<RequestRule> RefusedRequests();

// Sets no_new_privs and installs the filter, for the calling thread and what it starts, for good. The kernel
// takes the low 32 bits of an ioctl's request; so does the filter. 32-bit system calls are filtered alike,
// and those of the x32 ABI, which the kernel cannot tell from others by the architecture, fail with ENOSYS.
absl::Status InstallFilter();

}  // namespace nvshim::broker

#endif  // BROKER_RUN_FILTER_H_
