// The simulated NVIDIA driver: RM's objects and answers for one machine of equal GPUs, with no GPU behind
// them. Good enough for NVIDIA's own nvidia-smi and libcuda; of GPU work it executes what needs no shader
// program. Each call holds one lock, so calls may come from any thread. Callers are hostile: no call can
// crash it or grow it beyond sim/limits.h.
#ifndef BROKER_DRIVER_SIM_SIM_DRIVER_H_
#define BROKER_DRIVER_SIM_SIM_DRIVER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "broker/driver/driver.h"
#include "broker/driver/sim/unknowns.h"

namespace nvshim::broker {

struct SimOptions {
  std::string gpu = "a100";  // profile: a100, h100, h200, rtx4090
  // What clients are told: that of their libraries. How things are laid out says the table that
  // abi::ChooseTable gives for it.
  std::string driver_version = "535.261.03";
  bool skip_kernels =
      false;               // programs for the shader cores complete without effect, else stop their channel
  uint32_t gpu_count = 1;  // all of the same profile, minors from 0 on
  // Called once for each number that the driver does not know, with a phrase like "control 0x20801234 with 16
  // bytes of parameters"; may be empty. Runs under the driver's lock and must not call back.
  std::function<void(std::string_view)> log = {};
  // Called for a channel that stops, with the reason, and for the first program skipped; may be empty. Under
  // the lock too, on the engine's thread.
  std::function<void(std::string_view)> log_fault = {};
};

class SimDriver : public Driver {
 public:
  // How often callers used controls, classes, escapes or UVM requests that the driver does not know.
  virtual sim::UnknownCounts unknown_counts() const = 0;

  // How many programs for the shader cores were skipped.
  virtual uint64_t skipped_kernels() const = 0;

  // True while no channel has work and nobody looks for any.
  virtual bool engine_asleep() const = 0;

  // For a fake kernel, whose callers name memory by address: `fd`, which it keeps, is of a host file that
  // pieces of calls on `file` may name.
  virtual void AdoptHostFile(DriverFileId file, int fd) = 0;
};

// With the list of what is known, InvalidArgument for an unknown profile and FailedPrecondition for a version
// of a branch that has no table.
absl::StatusOr<std::unique_ptr<SimDriver>> CreateSimDriver(const SimOptions& options);

}  // namespace nvshim::broker

#endif  // BROKER_DRIVER_SIM_SIM_DRIVER_H_
