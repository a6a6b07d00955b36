#include "preload/node_view.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cstring>

#include "preload/log.h"
#include "preload/placeholder.h"
#include "preload/process.h"

namespace nvshim::preload {

namespace {

bool Equal(std::string_view whole, const char* path) {
  for (const char c : whole)
    if (*path++ != c) return false;
  return *path == '\0';
}

const VirtualFile* FindVirtualFile(const Session& session, const char* path) {
  for (uint32_t i = 0; i < session.welcome.file_count; ++i)
    if (Equal(session.welcome.files[i].path, path)) return &session.welcome.files[i];
  return nullptr;
}

NodeView LookAtDevice(const PathInfo& path) {
  int error;
  const Session* const session = path.device_class == DeviceClass::kNone ? nullptr : Attach(&error);
  const bool exists =
      session != nullptr && (path.device_class != DeviceClass::kGpu || session->HasGpu(path.minor));
  if (!exists) return {.view = View::kMissing};
  return {.view = View::kDevice,
          .device_class = path.device_class,
          .minor = path.minor,
          .uvm_major = session->welcome.uvm_major};
}

// True when a file that the broker supplies lies below `path`.
bool IsAboveVirtualFile(const Session& session, const char* path) {
  const size_t size = std::strlen(path);
  for (uint32_t i = 0; i < session.welcome.file_count; ++i) {
    const std::string_view file = session.welcome.files[i].path;
    if (file.size() > size && file[size] == '/' && std::memcmp(file.data(), path, size) == 0) return true;
  }
  return false;
}

// NVIDIA's own folders of /proc and /sys hold for a guest what the broker says, even where a driver of this
// machine's shows more; elsewhere, the broker's files are added.
NodeView LookAtFile(const char* path, PathKind kind) {
  int error;
  const Session* const session = kind == PathKind::kNvidiaFile ? Attach(&error) : CurrentSession();
  if (session != nullptr) {
    if (const VirtualFile* file = FindVirtualFile(*session, path))
      return {.view = View::kFile, .contents = file->contents};
    if (IsAboveVirtualFile(*session, path)) return {.view = View::kDirectory};
  }
  return {.view = kind == PathKind::kNvidiaFile ? View::kMissing : View::kForeign};
}

// Distinct and stable numbers; nothing compares them with a real file system's.
ino_t InodeOf(const NodeView& node) {
  return 0x6e760000u + static_cast<uint32_t>(node.device_class) * 0x1000 + node.minor;
}

int WriteAll(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const long written = Syscall(SYS_write, fd, bytes.data(), bytes.size());
    if (written == -EINTR) continue;
    if (written < 0) return static_cast<int>(-written);
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  return 0;
}

// The same file opened again, for reading only; the writable descriptor is closed.
int ReopenReadOnly(int fd, int flags) {
  char path[32] = "/proc/self/fd/";
  const std::string_view digits = Decimal(fd);
  for (size_t i = 0; i < digits.size(); ++i) path[14 + i] = digits[i];
  const long reopened = Syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | (flags & O_CLOEXEC));
  if (reopened < 0) {  // no /proc here: the sealed descriptor serves as well
    Syscall(SYS_lseek, fd, 0, SEEK_SET);
    if ((flags & O_CLOEXEC) == 0) Syscall(SYS_fcntl, fd, F_SETFD, 0);
    return fd;
  }
  // Onto the number that was the lowest free one when the program called.
  Syscall(SYS_dup3, reopened, fd, flags & O_CLOEXEC);
  CloseFd(static_cast<int>(reopened));
  return fd;
}

}  // namespace

dev_t NodeView::device() const {
  switch (device_class) {
    case DeviceClass::kCtl:
      return makedev(kNvidiaMajor, kCtlMinor);
    case DeviceClass::kGpu:
      return makedev(kNvidiaMajor, minor);
    case DeviceClass::kUvm:
      return makedev(uvm_major, 0);
    case DeviceClass::kUvmTools:
      return makedev(uvm_major, 1);
    case DeviceClass::kNone:
      break;
  }
  return 0;
}

NodeView LookAt(const char* path) {
  const PathInfo info = Classify(path);
  if (info.kind == PathKind::kForeign || !OwnsState()) return {};
  return info.kind == PathKind::kDevice ? LookAtDevice(info) : LookAtFile(path, info.kind);
}

NodeView LookAtFd(int fd, const struct stat& status) {
  Placeholder placeholder;
  if (!S_ISSOCK(status.st_mode) || !ReadPlaceholder(fd, &placeholder)) return {};
  const Session* const session = CurrentSession();
  return {.view = View::kDevice,
          .device_class = placeholder.device_class,
          .minor = placeholder.minor,
          .uvm_major = session == nullptr ? 0 : session->welcome.uvm_major};
}

void FillStat(const NodeView& node, struct stat* out) {
  *out = {};
  out->st_mode = node.mode();
  out->st_nlink = 1;
  out->st_ino = InodeOf(node);
  out->st_blksize = wire::kPageSizeBytes;
  if (node.view == View::kDevice) out->st_rdev = node.device();
  if (node.view == View::kFile) out->st_size = static_cast<off_t>(node.contents.size());
}

void FillStatx(const NodeView& node, struct statx* out) {
  *out = {};
  out->stx_mask = STATX_BASIC_STATS;
  out->stx_mode = static_cast<uint16_t>(node.mode());
  out->stx_nlink = 1;
  out->stx_ino = InodeOf(node);
  out->stx_blksize = wire::kPageSizeBytes;
  if (node.view == View::kDevice) {
    out->stx_rdev_major = major(node.device());
    out->stx_rdev_minor = minor(node.device());
  }
  if (node.view == View::kFile) out->stx_size = node.contents.size();
}

int CheckAccess(const NodeView& node, int mode) {
  if (node.view == View::kMissing) return ENOENT;
  const int forbidden = node.view == View::kDevice ? X_OK : node.view == View::kFile ? X_OK | W_OK : W_OK;
  return (mode & forbidden) != 0 ? EACCES : 0;
}

bool IsDeviceOrLink(const char* path) {
  if (Classify(path).kind == PathKind::kDevice) return true;
  const uint32_t major_of_link = MajorOfLink(path);
  if (major_of_link == 0) return false;
  const Session* const session = CurrentSession();
  return major_of_link == kNvidiaMajor || (session != nullptr && major_of_link == session->welcome.uvm_major);
}

int CheckChange(const char* path) {
  if (Classify(path).kind == PathKind::kDevice) return LookAt(path).view == View::kDevice ? 0 : EPERM;
  return CurrentSession() != nullptr ? 0 : EPERM;  // a link to a device
}

int OpenContents(const NodeView& node, int flags) {
  if ((flags & O_ACCMODE) != O_RDONLY) return -EACCES;
  const long fd = Syscall(SYS_memfd_create, "nvidia", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0) return static_cast<int>(fd);
  if (const int error = WriteAll(static_cast<int>(fd), node.contents); error != 0) {
    CloseFd(static_cast<int>(fd));
    return -error;
  }
  Syscall(SYS_fcntl, fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
  return ReopenReadOnly(static_cast<int>(fd), flags);
}

}  // namespace nvshim::preload
