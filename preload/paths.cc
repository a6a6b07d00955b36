#include "preload/paths.h"

namespace nvshim::preload {

namespace {

// The rest of `path` behind `prefix`, or null. Reads no further than the first difference.
const char* After(const char* path, std::string_view prefix) {
  for (const char c : prefix)
    if (*path++ != c) return nullptr;
  return path;
}

bool Is(const char* path, std::string_view whole) {
  const char* rest = After(path, whole);
  return rest != nullptr && *rest == '\0';
}

// The number of /dev/nvidia<N>, written as the driver writes it: no sign, no leading zero, nothing behind.
bool ParseMinor(const char* digits, uint32_t* minor) {
  if (digits[0] == '0' && digits[1] != '\0') return false;
  uint32_t value = 0;
  int count = 0;
  for (; digits[count] >= '0' && digits[count] <= '9'; ++count) {
    if (count == 3) return false;  // minors go up to 254, 255 being nvidiactl
    value = value * 10 + static_cast<uint32_t>(digits[count] - '0');
  }
  if (count == 0 || digits[count] != '\0' || value >= kCtlMinor) return false;
  *minor = value;
  return true;
}

PathInfo ClassifyDevice(const char* rest) {
  PathInfo info = {PathKind::kDevice, DeviceClass::kNone, 0};
  if (Is(rest, "ctl")) info.device_class = DeviceClass::kCtl;
  if (Is(rest, "-uvm")) info.device_class = DeviceClass::kUvm;
  if (Is(rest, "-uvm-tools")) info.device_class = DeviceClass::kUvmTools;
  if (ParseMinor(rest, &info.minor)) info.device_class = DeviceClass::kGpu;
  return info;
}

}  // namespace

uint32_t MajorOfLink(const char* path) {
  const char* digits = path == nullptr ? nullptr : After(path, "/dev/char/");
  if (digits == nullptr) return 0;
  uint32_t major = 0;
  for (; *digits >= '0' && *digits <= '9'; ++digits) {
    if (major > 0xfff) return 0;  // the kernel's majors have 12 bits
    major = major * 10 + static_cast<uint32_t>(*digits - '0');
  }
  return *digits == ':' ? major : 0;
}

PathInfo ClassifySlowly(const char* path) {
  if (const char* rest = After(path, "/dev/")) {
    if (const char* name = After(rest, "nvidia")) return ClassifyDevice(name);
    return {};
  }
  if (After(path, "/proc/driver/nvidia") != nullptr) return {PathKind::kNvidiaFile};
  if (After(path, "/sys/module/nvidia") != nullptr) return {PathKind::kNvidiaFile};
  if (After(path, "/proc/") != nullptr || After(path, "/sys/") != nullptr) return {PathKind::kMaybeVirtual};
  return {};
}

}  // namespace nvshim::preload
