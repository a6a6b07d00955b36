#include "preload/paths.h"

#include <string>

#include "gtest/gtest.h"

namespace nvshim::preload {
namespace {

DeviceClass ClassOf(const char* path) {
  const PathInfo info = Classify(path);
  EXPECT_EQ(info.kind, PathKind::kDevice) << path;
  return info.device_class;
}

TEST(PathsTest, TheFourDeviceFilesAreRecognised) {
  EXPECT_EQ(ClassOf("/dev/nvidiactl"), DeviceClass::kCtl);
  EXPECT_EQ(ClassOf("/dev/nvidia-uvm"), DeviceClass::kUvm);
  EXPECT_EQ(ClassOf("/dev/nvidia-uvm-tools"), DeviceClass::kUvmTools);
  EXPECT_EQ(ClassOf("/dev/nvidia0"), DeviceClass::kGpu);
  EXPECT_EQ(ClassOf("/dev/nvidia254"), DeviceClass::kGpu);
}

TEST(PathsTest, TheNumberOfAGpuIsItsMinor) {
  for (uint32_t minor = 0; minor < kCtlMinor; ++minor)
    EXPECT_EQ(Classify(("/dev/nvidia" + std::to_string(minor)).c_str()).minor, minor);
}

TEST(PathsTest, NoOtherFileOfNvidiasExists) {
  for (const char* path :
       {"/dev/nvidia", "/dev/nvidia255", "/dev/nvidia256", "/dev/nvidia4294967296", "/dev/nvidia00",
        "/dev/nvidia0 ", "/dev/nvidia+1", "/dev/nvidia-1", "/dev/nvidia-modeset", "/dev/nvidia-uvm/",
        "/dev/nvidiactl2", "/dev/nvidia-caps/nvidia-cap1", "/dev/nvidia0/x"}) {
    EXPECT_EQ(ClassOf(path), DeviceClass::kNone) << path;
  }
}

TEST(PathsTest, EverythingElseIsForeign) {
  for (const char* path : {"", "/", "nvidiactl", "dev/nvidia0", "/dev/", "/dev/null", "/dev/nvidi",
                           "/dev/nvme0", "/dev/char/1:3", "/tmp/dev/nvidia0", "/devnvidia0", "/d", "/p",
                           "/proc", "/s", "/sys", "/etc/passwd", "/usr/lib/libcuda.so.1"}) {
    EXPECT_EQ(Classify(path).kind, PathKind::kForeign) << path;
  }
  EXPECT_EQ(Classify(nullptr).kind, PathKind::kForeign);
}

TEST(PathsTest, OnlyNvidiasOwnFilesAreWorthAConnection) {
  EXPECT_EQ(Classify("/proc/driver/nvidia/params").kind, PathKind::kNvidiaFile);
  EXPECT_EQ(Classify("/sys/module/nvidia_uvm/initstate").kind, PathKind::kNvidiaFile);
  EXPECT_EQ(Classify("/proc/devices").kind, PathKind::kMaybeVirtual);
  EXPECT_EQ(Classify("/proc/self/maps").kind, PathKind::kMaybeVirtual);
  EXPECT_EQ(Classify("/sys/bus/pci/devices/0000:01:00.0/numa_node").kind, PathKind::kMaybeVirtual);
}

TEST(PathsTest, ALinkBelowDevCharTellsItsMajor) {
  EXPECT_EQ(MajorOfLink("/dev/char/195:255"), 195u);
  EXPECT_EQ(MajorOfLink("/dev/char/510:0"), 510u);
  for (const char* path : {"/dev/char/", "/dev/char/195", "/dev/char/:0", "/dev/char/x:0",
                           "/dev/char/99999999999:0", "/dev/195:0", "195:0"}) {
    EXPECT_EQ(MajorOfLink(path), 0u) << path;
  }
  EXPECT_EQ(MajorOfLink(nullptr), 0u);
}

}  // namespace
}  // namespace nvshim::preload
