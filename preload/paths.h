// Which paths are about NVIDIA's device files. Pure string work, on the path of every open and stat of the
// host program, so the answer for other paths is found within their first characters. Only absolute paths in
// the form that NVIDIA's libraries use are recognised: a path written otherwise finds no device, never an
// unmediated one.
#ifndef PRELOAD_PATHS_H_
#define PRELOAD_PATHS_H_

#include <cstdint>
#include <string_view>

namespace nvshim::preload {

// The numbers of DeviceClass in proto/frame.proto.
enum class DeviceClass : uint8_t { kNone = 0, kCtl = 1, kGpu = 2, kUvm = 3, kUvmTools = 4 };

enum class PathKind : uint8_t {
  kForeign,  // nothing to do with us
  kDevice,  // begins like a device file of NVIDIA's: PathInfo says which, kNone when no such device can exist
  kNvidiaFile,    // below NVIDIA's own directories of /proc and /sys: worth asking the broker for
  kMaybeVirtual,  // elsewhere below /proc or /sys: ours only if the broker supplied contents for it
};

struct PathInfo {
  PathKind kind = PathKind::kForeign;
  DeviceClass device_class = DeviceClass::kNone;
  uint32_t minor = 0;  // of kGpu
};

// Character device major of /dev/nvidiactl and /dev/nvidia<N> (nv-linux.h, NV_MAJOR_DEVICE_NUMBER).
inline constexpr uint32_t kNvidiaMajor = 195;
// Minor of /dev/nvidiactl (nv-linux.h, NV_CONTROL_DEVICE_MINOR).
inline constexpr uint32_t kCtlMinor = 255;

// Looks at all of a path that starts with "/dev/", "/proc/" or "/sys/".
PathInfo ClassifySlowly(const char* path);

// What `path` is. Null is foreign: the kernel answers it.
inline PathInfo Classify(const char* path) {
  if (path == nullptr || path[0] != '/') return {};
  const char second = path[1];
  if (second != 'd' && second != 'p' && second != 's') return {};
  return ClassifySlowly(path);
}

// The major in "/dev/char/<major>:<minor>", where udev and NVIDIA's libraries put links to device files; 0
// for paths of another form.
uint32_t MajorOfLink(const char* path);

}  // namespace nvshim::preload

#endif  // PRELOAD_PATHS_H_
