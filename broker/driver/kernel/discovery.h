// What the machine's NVIDIA driver and GPUs are, from /proc and the driver's own answer; and keeping the GPUs
// initialised.
#ifndef BROKER_DRIVER_KERNEL_DISCOVERY_H_
#define BROKER_DRIVER_KERNEL_DISCOVERY_H_

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "broker/driver/driver.h"
#include "broker/driver/kernel/kernel.h"

namespace nvshim::broker::kernel {

// Version, GPUs, and the files that guests are shown. What is wrong with the machine comes back as a sentence
// that says what to do about it.
absl::StatusOr<DriverInfo> Discover(Kernel& kernel);

// One open device file for each GPU: while there is one, the driver keeps the GPU initialised. The first open
// of a GPU that nobody uses takes seconds. Closes them in the end.
class WarmGpus {
 public:
  // `log` hears how long each open took. A GPU that cannot be opened is an error.
  static absl::StatusOr<WarmGpus> Open(Kernel& kernel, const DriverInfo& info,
                                       const std::function<void(std::string_view)>& log);
  WarmGpus(WarmGpus&&) = default;
  WarmGpus& operator=(WarmGpus&&) = delete;
  ~WarmGpus();

  const std::vector<int>& fds() const { return fds_; }

 private:
  explicit WarmGpus(Kernel& kernel) : kernel_(kernel) {}

  Kernel& kernel_;
  std::vector<int> fds_;
};

// "/dev/nvidia0"
std::string PathOf(DeviceNode node);

}  // namespace nvshim::broker::kernel

#endif  // BROKER_DRIVER_KERNEL_DISCOVERY_H_
