// gpu-broker whose --driver=kernel finds a fake kernel: guests, shim, worker and kernel driver as they are,
// and below them the simulated driver. The environment says what machine it is:
//   NVSHIM_FAKE_GPU          its GPU's profile (h100)
//   NVSHIM_FAKE_VERSION      its driver's version (535.261.03)
//   NVSHIM_FAKE_ROOT_ONLY    a control, in hexadecimal, that it only lets root call
//   NVSHIM_FAKE_LOST         a device file that cannot be opened
//   NVSHIM_FAKE_RECORD       a file that gets a line "PID CALL" for each call of each process of the broker
#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>
#include <memory>
#include <string>

#include "broker/command_line.h"
#include "testing/fake_kernel/fake_kernel.h"

namespace {

std::string Environment(const char* name, const char* otherwise) {
  const char* const value = getenv(name);
  return value == nullptr ? otherwise : value;
}

std::unique_ptr<nvshim::broker::kernel::Kernel> MakeFakeKernel() {
  nvshim::testing::FakeKernelOptions options;
  options.sim.gpu = Environment("NVSHIM_FAKE_GPU", "h100");
  options.sim.driver_version = Environment("NVSHIM_FAKE_VERSION", "535.261.03");
  const std::string root_only = Environment("NVSHIM_FAKE_ROOT_ONLY", "");
  if (!root_only.empty())
    options.root_only_controls = {static_cast<uint32_t>(std::stoul(root_only, nullptr, 16))};
  options.lost = Environment("NVSHIM_FAKE_LOST", "");
  const std::string record = Environment("NVSHIM_FAKE_RECORD", "");
  if (!record.empty()) {
    // One write for each line: processes write to the same file.
    const int fd = open(record.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    options.record = [fd](const std::string& call) {
      const std::string line = std::to_string(getpid()) + " " + call + "\n";
      if (write(fd, line.data(), line.size()) < 0) abort();
    };
  }
  return std::make_unique<nvshim::testing::FakeKernel>(std::move(options));
}

}  // namespace

int main(int argc, char** argv) { return nvshim::broker::RunCommandLine(argc, argv, &MakeFakeKernel); }
