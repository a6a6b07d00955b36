#include "broker/driver/kernel/discovery.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "broker/driver/call.h"
#include "proto/abi/spec.h"

namespace nvshim::broker::kernel {
namespace {

constexpr char kGpuFolder[] = "/proc/driver/nvidia/gpus";

// NV_ESC_CHECK_VERSION_STR, nv_ioctl_rm_api_version_t (nv-ioctl.h): cmd, reply, text. '2' asks for the
// version without a comparison; drivers that do not know it compare, refuse, and give it all the same.
constexpr uint32_t kCheckVersionStr = 0xd2, kCmdQuery = '2';
constexpr size_t kTextOffset = 8, kVersionBytes = 72;

absl::Status CannotOpen(const std::string& path, int error) {
  const std::string what = absl::StrCat("cannot open ", path, ": ", std::strerror(error));
  switch (error) {
    case ENOENT:
    case ENXIO:
    case ENODEV:
      return absl::NotFoundError(absl::StrCat(
          what,
          ". Is the NVIDIA driver loaded (lsmod), and are its device files there (nvidia-modprobe -c 0 -u)? ",
          "--driver=sim needs none"));
    case EACCES:
    case EPERM:
      return absl::PermissionDeniedError(absl::StrCat(
          what, ". The broker runs as uid ", geteuid(),
          " and needs to read and write it: see its mode and group, or ", "DeviceAllow= of the unit"));
    default:
      return absl::UnavailableError(
          absl::StrCat(what, ". The machine's log (dmesg) has the driver's reason"));
  }
}

absl::StatusOr<std::string> QueryVersion(Kernel& kernel) {
  const std::string path = PathOf({DeviceClass::kCtl, 0});
  const int fd = kernel.Open(path, O_RDWR);
  if (fd < 0) return CannotOpen(path, -fd);
  alignas(8) std::array<uint8_t, kVersionBytes> params = {};
  Put<uint32_t>(params, 0, kCmdQuery);
  kernel.Ioctl(fd, abi::EscapeCommand(kCheckVersionStr, kVersionBytes), params.data());
  kernel.Close(fd);
  const char* const text = reinterpret_cast<const char*>(params.data() + kTextOffset);
  std::string version(text, strnlen(text, kVersionBytes - kTextOffset));
  if (version.empty())
    return absl::UnavailableError(absl::StrCat(path, " does not tell the version of its driver"));
  return version;
}

// What stands behind "`key`:" at the start of a line.
std::string Field(absl::string_view contents, absl::string_view key) {
  for (const absl::string_view line : absl::StrSplit(contents, '\n'))
    if (absl::StartsWith(line, key) && absl::StartsWith(line.substr(key.size()), ":"))
      return std::string(absl::StripAsciiWhitespace(line.substr(key.size() + 1)));
  return "";
}

std::optional<GpuInfo> ReadGpu(absl::string_view information) {
  GpuInfo gpu;
  if (!absl::SimpleAtoi(Field(information, "Device Minor"), &gpu.minor)) return std::nullopt;
  if (Field(information, "GPU Excluded") == "Yes") return std::nullopt;
  gpu.bus_id = Field(information, "Bus Location");
  gpu.name = Field(information, "Model");
  gpu.uuid = Field(information, "GPU UUID");
  return gpu;
}

// Clients that are told otherwise make and change device files, or start a set-uid helper that does.
std::string WithoutModifyDeviceFiles(absl::string_view params) {
  std::string shown;
  for (const absl::string_view line : absl::StrSplit(params, '\n', absl::SkipEmpty()))
    absl::StrAppend(&shown, absl::StartsWith(line, "ModifyDeviceFiles:") ? "ModifyDeviceFiles: 0" : line,
                    "\n");
  return shown;
}

// "510 nvidia-uvm", among the character devices.
uint32_t UvmMajor(absl::string_view devices) {
  for (const absl::string_view line : absl::StrSplit(devices, '\n')) {
    const std::vector<absl::string_view> words = absl::StrSplit(line, ' ', absl::SkipEmpty());
    uint32_t major;
    if (words.size() == 2 && words[1] == "nvidia-uvm" && absl::SimpleAtoi(words[0], &major)) return major;
  }
  return 0;
}

}  // namespace

std::string PathOf(DeviceNode node) {
  switch (node.device_class) {
    case DeviceClass::kCtl:
      return "/dev/nvidiactl";
    case DeviceClass::kGpu:
      return absl::StrCat("/dev/nvidia", node.minor);
    case DeviceClass::kUvm:
      return "/dev/nvidia-uvm";
    case DeviceClass::kUvmTools:
      return "/dev/nvidia-uvm-tools";
  }
  return "";
}

absl::StatusOr<DriverInfo> Discover(Kernel& kernel) {
  auto version = QueryVersion(kernel);
  if (!version.ok()) return version.status();
  DriverInfo info;
  info.version = *std::move(version);
  for (const std::string& bus_id : kernel.List(kGpuFolder)) {
    const std::string path = absl::StrCat(kGpuFolder, "/", bus_id, "/information");
    const auto information = kernel.Read(path);
    const auto gpu = information ? ReadGpu(*information) : std::nullopt;
    if (!gpu) continue;
    info.gpus.push_back(*gpu);
    info.files.emplace_back(path, *information);
  }
  if (info.gpus.empty())
    return absl::NotFoundError(
        absl::StrCat("the NVIDIA driver ", info.version, " is loaded and has no GPU (", kGpuFolder, ")"));
  std::sort(info.gpus.begin(), info.gpus.end(),
            [](const GpuInfo& a, const GpuInfo& b) { return a.minor < b.minor; });
  for (const char* path : {"/proc/driver/nvidia/version", "/proc/devices", "/sys/module/nvidia/initstate",
                           "/sys/module/nvidia_uvm/initstate"})
    if (auto contents = kernel.Read(path)) info.files.emplace_back(path, *std::move(contents));
  info.uvm_major = UvmMajor(kernel.Read("/proc/devices").value_or(""));
  if (info.uvm_major == 0)
    return absl::NotFoundError(
        "nvidia-uvm is not loaded (/proc/devices), and CUDA needs it: modprobe nvidia-uvm, or "
        "nvidia-modprobe -u");
  info.files.emplace_back("/proc/driver/nvidia/params",
                          WithoutModifyDeviceFiles(kernel.Read("/proc/driver/nvidia/params").value_or("")));
  return info;
}

absl::StatusOr<WarmGpus> WarmGpus::Open(Kernel& kernel, const DriverInfo& info,
                                        const std::function<void(std::string_view)>& log) {
  using Clock = std::chrono::steady_clock;
  WarmGpus warm(kernel);
  for (const GpuInfo& gpu : info.gpus) {
    const std::string path = PathOf({DeviceClass::kGpu, gpu.minor});
    const auto start = Clock::now();
    const int fd = kernel.Open(path, O_RDWR);
    if (fd < 0) return CannotOpen(path, -fd);
    warm.fds_.push_back(fd);
    const auto taken = std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - start).count();
    if (log) log(absl::StrCat(path, " (", gpu.name, ", ", gpu.uuid, ") opened in ", taken, " ms"));
  }
  return warm;
}

WarmGpus::~WarmGpus() {
  for (int fd : fds_) kernel_.Close(fd);
}

}  // namespace nvshim::broker::kernel
