// ModifyDeviceFiles 0 matters most: with it the clients neither mknod nor chmod device nodes, nor start
// nvidia-modprobe.
#include "broker/driver/sim/virtual_files.h"

#include "absl/strings/str_cat.h"

namespace nvshim::broker::sim {
namespace {

std::string GpuInformation(const Gpu& gpu) {
  return absl::StrCat("Model: \t\t ", std::string(gpu.profile->name), "\nIRQ:   \t\t ", 16 + gpu.minor,
                      "\nGPU UUID: \t ", gpu.UuidText(),
                      "\nVideo BIOS: \t ??.??.??.??.??\nBus Type: \t PCIe\n",
                      "DMA Size: \t 47 bits\nDMA Mask: \t 0x7fffffffffff\nBus Location: \t ", gpu.bus_id,
                      "\nDevice Minor: \t ", gpu.minor, "\nGPU Excluded:\t No\n");
}

}  // namespace

std::vector<std::pair<std::string, std::string>> VirtualFiles(const Machine& machine, uint32_t uvm_major) {
  std::vector<std::pair<std::string, std::string>> files = {
      {"/proc/driver/nvidia/params",
       "ModifyDeviceFiles: 0\nDeviceFileUID: 0\nDeviceFileGID: 0\nDeviceFileMode: 438\n"},
      {"/proc/driver/nvidia/version",
       absl::StrCat("NVRM version: NVIDIA UNIX x86_64 Kernel Module  ", machine.version(),
                    "  simulated\nGCC version:  simulated\n")},
      // The host's list has no NVIDIA drivers; clients only look for these lines.
      {"/proc/devices", absl::StrCat("Character devices:\n  1 mem\n  5 /dev/tty\n195 nvidia-frontend\n",
                                     uvm_major, " nvidia-uvm\n\nBlock devices:\n259 blkext\n")},
      {"/sys/module/nvidia/initstate", "live\n"},
      {"/sys/module/nvidia_uvm/initstate", "live\n"},
  };
  for (const Gpu& gpu : machine.gpus())
    files.emplace_back(absl::StrCat("/proc/driver/nvidia/gpus/", gpu.bus_id, "/information"),
                       GpuInformation(gpu));
  return files;
}

}  // namespace nvshim::broker::sim
