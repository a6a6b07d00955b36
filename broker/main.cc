// gpu-broker, on the kernel that this machine runs.
#include "broker/command_line.h"
#include "broker/driver/kernel/linux_kernel.h"

int main(int argc, char** argv) {
  return nvshim::broker::RunCommandLine(argc, argv, &nvshim::broker::kernel::MakeLinuxKernel);
}
