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

int ContentsOf(const NodeView& node, int flags, Answer* answer) {
  const int fd = OpenContents(node, flags);
  *answer = fd >= 0 ? Succeed(fd) : Fail(-fd);
  return fd;
}

}  // namespace

Answer OpenPath(const char* path, const PathInfo& info, int flags) {
  if (info.kind == PathKind::kDevice) {
    if (OldTestcancel != nullptr) OldTestcancel();
    return OpenDevice(info, flags);
  }
  const NodeView node = LookAt(path);
  if (node.view != View::kFile) return {};
  Answer answer;
  ContentsOf(node, flags, &answer);
  return answer;
}

bool FopenPath(const char* path, const char* mode, FILE** file) {
  const NodeView node = LookAt(path);
  if (node.view != View::kFile) return false;
  *file = nullptr;
  const bool writes = mode[0] != 'r' || std::strchr(mode, '+') != nullptr;
  Answer answer;
  const int fd =
      ContentsOf(node, (writes ? O_RDWR : O_RDONLY) | (std::strchr(mode, 'e') ? O_CLOEXEC : 0), &answer);
  if (fd < 0) return true;
  *file = fdopen(fd, "r");
  if (*file == nullptr) CloseFd(fd);
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
  return is_link ? AnswerOf(CheckChange("/dev/char/195:")) : ChangePath(path);
}

}  // namespace nvshim::preload
