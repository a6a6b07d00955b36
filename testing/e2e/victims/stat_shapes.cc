// Law: the device nodes look like NVIDIA's character devices to every function that looks at names and
// descriptors, whether the node is opened or not. NVIDIA's libraries refuse, or try to make the node
// themselves, when the type or the numbers are wrong.
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "testing/e2e/victims/rm.h"

namespace {

constexpr unsigned kMajor = 195;  // NV_MAJOR_DEVICE_NUMBER
constexpr unsigned kCtlMinor = 255;

void ExpectNode(const char* how, const char* path, mode_t mode, dev_t device, unsigned minor_number) {
  victim::Law(S_ISCHR(mode), "%s(%s): mode 0%o is no character device", how, path, mode);
  victim::Law(major(device) == kMajor && minor(device) == minor_number,
              "%s(%s): device %u:%u, %u:%u is right", how, path, major(device), minor(device), kMajor,
              minor_number);
}

void ExpectPathLooksRight(const char* path, unsigned minor_number) {
  struct stat status;
  victim::Law(stat(path, &status) == 0, "stat(%s) fails", path);
  ExpectNode("stat", path, status.st_mode, status.st_rdev, minor_number);
  victim::Law(lstat(path, &status) == 0, "lstat(%s) fails", path);
  ExpectNode("lstat", path, status.st_mode, status.st_rdev, minor_number);
  victim::Law(fstatat(AT_FDCWD, path, &status, 0) == 0, "fstatat(%s) fails", path);
  ExpectNode("fstatat", path, status.st_mode, status.st_rdev, minor_number);
  struct stat64 status64;
  victim::Law(stat64(path, &status64) == 0, "stat64(%s) fails", path);
  ExpectNode("stat64", path, status64.st_mode, status64.st_rdev, minor_number);
  struct statx extended;
  victim::Law(statx(AT_FDCWD, path, 0, STATX_BASIC_STATS, &extended) == 0, "statx(%s) fails", path);
  ExpectNode("statx", path, extended.stx_mode, makedev(extended.stx_rdev_major, extended.stx_rdev_minor),
             minor_number);
  victim::Law(access(path, R_OK | W_OK) == 0, "access(%s) fails", path);
}

void ExpectFileLooksRight(const char* path, unsigned minor_number) {
  struct stat status;
  const int fd = victim::Open(path);
  victim::Law(fstat(fd, &status) == 0, "fstat of an open %s fails", path);
  ExpectNode("fstat", path, status.st_mode, status.st_rdev, minor_number);
  const int relative_to = open("/dev", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const int same = openat(relative_to, path, O_RDWR | O_CLOEXEC);  // absolute: relative_to does not matter
  victim::Law(same >= 0, "openat(%s) fails", path);
  victim::Law(fstat(same, &status) == 0, "fstat after openat(%s) fails", path);
  ExpectNode("fstat", path, status.st_mode, status.st_rdev, minor_number);
  close(same);
  close(relative_to);
  close(fd);
}

void OtherFilesAreLeftAlone() {
  struct stat status;
  victim::Law(stat("/dev/null", &status) == 0 && major(status.st_rdev) == 1 && minor(status.st_rdev) == 3,
              "stat(/dev/null) is not 1:3");
  errno = 0;
  victim::Law(stat("/dev/nvidia99", &status) != 0 && errno == ENOENT, "a GPU that is not there has a node");
  victim::Law(open("/dev/nvidia99", O_RDWR | O_CLOEXEC) < 0, "a GPU that is not there can be opened");
}

}  // namespace

int main() {
  victim::NeverHang();
  ExpectPathLooksRight(victim::kCtl, kCtlMinor);
  ExpectPathLooksRight(victim::kGpu0, 0);
  ExpectFileLooksRight(victim::kCtl, kCtlMinor);
  ExpectFileLooksRight(victim::kGpu0, 0);
  OtherFilesAreLeftAlone();
  return 0;
}
