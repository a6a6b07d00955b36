#include "preload/hooks.h"

#include <fcntl.h>

#include <cstring>

#include "preload/device_file.h"
#include "preload/node_view.h"
#include "preload/syscalls.h"

// Weak and at its old version: before glibc 2.34 it lives in libpthread.so.0, and where that is not loaded
// nobody can cancel a thread.
extern "C" void OldTestcancel() __attribute__((weak));
asm(".symver OldTestcancel, pthread_testcancel@GLIBC_2.2.5");

namespace nvshim::preload {

namespace {

// open(2) of a path below /proc or /sys.
Answer OpenFile(const char* path, int flags) {
  const NodeView node = LookAt(path);
  if (node.view == View::kMissing) return Fail(ENOENT);
  if (node.view != View::kFile) return {};
  const int fd = OpenContents(node, flags);
  return fd >= 0 ? Succeed(fd) : Fail(-fd);
}

// What a mode of fopen(3) means to open(2), for files that exist.
int FlagsOf(const char* mode) {
  const int access = std::strchr(mode, '+') != nullptr ? O_RDWR : mode[0] == 'r' ? O_RDONLY : O_WRONLY;
  return access | (std::strchr(mode, 'e') != nullptr ? O_CLOEXEC : 0);
}

}  // namespace

Answer OpenPath(const char* path, const PathInfo& info, int flags) {
  if (info.kind != PathKind::kDevice) return OpenFile(path, flags);
  if (OldTestcancel != nullptr) OldTestcancel();
  return OpenDevice(info, flags);
}

bool FopenPath(const char* path, const PathInfo& info, const char* mode, FILE** file) {
  const Answer answer = OpenPath(path, info, FlagsOf(mode));
  if (!answer.handled) return false;
  *file = answer.result < 0 ? nullptr : fdopen(answer.result, mode);
  if (*file == nullptr && answer.result >= 0) CloseFd(answer.result);
  return true;
}

Answer StatPath(const char* path, struct stat* out) {
  const NodeView node = LookAt(path);
  if (node.view == View::kForeign) return {};
  if (node.view == View::kMissing) return Fail(ENOENT);
  FillStat(node, out);
  return Succeed(0);
}

Answer StatxPath(const char* path, struct statx* out) {
  const NodeView node = LookAt(path);
  if (node.view == View::kForeign) return {};
  if (node.view == View::kMissing) return Fail(ENOENT);
  FillStatx(node, out);
  return Succeed(0);
}

Answer AccessPath(const char* path, int mode) {
  const NodeView node = LookAt(path);
  return node.view == View::kForeign ? Answer{} : AnswerOf(CheckAccess(node, mode));
}

void PatchFstat(int fd, struct stat* out) {
  const NodeView node = LookAtFd(fd, *out);
  if (node.view == View::kDevice) FillStat(node, out);
}

void PatchStatx(int fd, struct statx* out) {
  if (!S_ISSOCK(out->stx_mode)) return;
  struct stat socket = {};
  socket.st_mode = out->stx_mode;
  const NodeView node = LookAtFd(fd, socket);
  if (node.view == View::kDevice) FillStatx(node, out);
}

Answer ChangePath(const char* path) { return IsDeviceOrLink(path) ? AnswerOf(CheckChange(path)) : Answer{}; }

Answer LinkPath(const char* target, const char* path) {
  // udev's style: /dev/char/<major>:<minor> -> ../nvidia-uvm, whatever the major.
  const bool is_link = target != nullptr && path != nullptr && std::strncmp(target, "../nvidia", 9) == 0 &&
                       std::strncmp(path, "/dev/char/", 10) == 0;
  return is_link ? AnswerOf(CheckChange(path)) : ChangePath(path);
}

}  // namespace nvshim::preload
