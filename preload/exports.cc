// Every symbol that libnvshim.so shows to the host program, and nothing else: each takes its arguments apart,
// asks whether the call concerns us, and passes it on if not. The names of exports.map, exports.cc and real.h
// are the same list; preload_elf_test compares. Functions have names of their own and get their exported ones
// by asm labels, so that no attribute of a libc header (nonnull, fortified variants, redirects for large
// files) applies to them.
//
// Mirrors the headers: open, close, fopen and all that wait can be cancelled and must let the unwinder
// through (no noexcept); the others are no cancellation points. The library is built without exceptions, so
// no frame here needs unwinding.
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "preload/device_file.h"
#include "preload/hooks.h"
#include "preload/os_events.h"
#include "preload/process.h"
#include "preload/real.h"

#define NVSHIM_EXPORT(name) asm(#name) __attribute__((visibility("default")))

namespace nvshim::preload {
namespace {

// Before most of the program's code, after the constructors of the libraries it depends on.
__attribute__((constructor(101))) void Init() {
  UpgradeRealFunctions();
  InitProcess();
}

// The mode follows the flags only with O_CREAT or O_TMPFILE, and O_TMPFILE is more than one bit.
bool TakesMode(int flags) { return (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE; }

#define NVSHIM_READ_MODE(flags, mode) \
  mode_t mode = 0;                    \
  if (TakesMode(flags)) {             \
    va_list arguments;                \
    va_start(arguments, flags);       \
    mode = va_arg(arguments, mode_t); \
    va_end(arguments);                \
  }

Answer TryOpen(const char* path, int flags) {
  const PathInfo info = Classify(path);
  return info.kind == PathKind::kForeign ? Answer{} : OpenPath(path, info, flags);
}

// Paths are looked at only when they are absolute: then the directory does not matter.
Answer TryStat(const char* path, struct stat* out) {
  return Classify(path).kind == PathKind::kForeign ? Answer{} : StatPath(path, out);
}

int PatchedFstat(int result, int fd, struct stat* out) {
  if (result == 0 && S_ISSOCK(out->st_mode)) PatchFstat(fd, out);
  return result;
}

// fstatat with AT_EMPTY_PATH is fstat.
int PatchedFstatat(int result, int fd, const char* path, struct stat* out, int flags) {
  const bool of_fd = (flags & AT_EMPTY_PATH) != 0 && (path == nullptr || path[0] == '\0');
  return of_fd ? PatchedFstat(result, fd, out) : result;
}

int Close(CloseFn* real_close, int fd) {
  if (fd_table().Byte(fd) != FdTable::kUnknown) {
    const Answer answer = CloseKnown(fd);
    if (answer.handled) return answer.result;
  }
  return real_close(fd);
}

int Polled(int result, pollfd* fds, nfds_t count) {
  if (result > 0 && HasOsEvents()) ConsumePolled(fds, count);
  return result;
}

int Selected(int result, int fd_end, const fd_set* readable) {
  if (result > 0 && HasOsEvents()) ConsumeSelected(fd_end, readable);
  return result;
}

int Epolled(int result, int epoll_fd, const epoll_event* events) {
  if (result > 0 && epoll_files().used()) epoll_files().Consume(epoll_fd, events, result);
  return result;
}

}  // namespace

extern "C" {

// ---- open ----

#define NVSHIM_OPEN(symbol)                                                   \
  int Hook_##symbol(const char* path, int flags, ...) NVSHIM_EXPORT(symbol);  \
  int Hook_##symbol(const char* path, int flags, ...) {                       \
    NVSHIM_READ_MODE(flags, mode)                                             \
    const Answer answer = TryOpen(path, flags);                               \
    return answer.handled ? answer.result : real().symbol(path, flags, mode); \
  }
NVSHIM_OPEN(open)
NVSHIM_OPEN(open64)
NVSHIM_OPEN(__open)
NVSHIM_OPEN(__open64)

#define NVSHIM_OPEN_2(symbol)                                           \
  int Hook_##symbol(const char* path, int flags) NVSHIM_EXPORT(symbol); \
  int Hook_##symbol(const char* path, int flags) {                      \
    const Answer answer = TryOpen(path, flags);                         \
    return answer.handled ? answer.result : real().symbol(path, flags); \
  }
NVSHIM_OPEN_2(__open_2)
NVSHIM_OPEN_2(__open64_2)

#define NVSHIM_OPENAT(symbol)                                                               \
  int Hook_##symbol(int directory, const char* path, int flags, ...) NVSHIM_EXPORT(symbol); \
  int Hook_##symbol(int directory, const char* path, int flags, ...) {                      \
    NVSHIM_READ_MODE(flags, mode)                                                           \
    const Answer answer = TryOpen(path, flags);                                             \
    return answer.handled ? answer.result : real().symbol(directory, path, flags, mode);    \
  }
NVSHIM_OPENAT(openat)
NVSHIM_OPENAT(openat64)

#define NVSHIM_OPENAT_2(symbol)                                                        \
  int Hook_##symbol(int directory, const char* path, int flags) NVSHIM_EXPORT(symbol); \
  int Hook_##symbol(int directory, const char* path, int flags) {                      \
    const Answer answer = TryOpen(path, flags);                                        \
    return answer.handled ? answer.result : real().symbol(directory, path, flags);     \
  }
NVSHIM_OPENAT_2(__openat_2)
NVSHIM_OPENAT_2(__openat64_2)

#define NVSHIM_FOPEN(symbol)                                                                 \
  FILE* Hook_##symbol(const char* path, const char* mode) NVSHIM_EXPORT(symbol);             \
  FILE* Hook_##symbol(const char* path, const char* mode) {                                  \
    const PathInfo info = Classify(path);                                                    \
    FILE* file;                                                                              \
    const bool ours = info.kind != PathKind::kForeign && FopenPath(path, info, mode, &file); \
    return ours ? file : real().symbol(path, mode);                                          \
  }
NVSHIM_FOPEN(fopen)
NVSHIM_FOPEN(fopen64)

// ---- ioctl, close ----

int Hook_ioctl(int fd, unsigned long request, ...) NVSHIM_EXPORT(ioctl);
int Hook_ioctl(int fd, unsigned long request, ...) {
  va_list arguments;
  va_start(arguments, request);
  void* const argument = va_arg(arguments, void*);
  va_end(arguments);
  const uint32_t request32 = static_cast<uint32_t>(request);  // callers sign-extend it
  if (fd_table().Byte(fd) != FdTable::kUnknown || LooksLikeNvidia(request32)) {
    const Answer answer = IoctlDevice(fd, request32, argument);
    if (answer.handled) return answer.result;
  }
  return real().ioctl(fd, request, argument);
}

int Hook_close(int fd) NVSHIM_EXPORT(close);
int Hook_close(int fd) { return Close(real().close, fd); }
int Hook___close(int fd) NVSHIM_EXPORT(__close);
int Hook___close(int fd) { return Close(real().__close, fd); }

// ---- mmap ----

#define NVSHIM_MMAP(symbol)                                                                            \
  void* Hook_##symbol(void* address, size_t length, int protection, int flags, int fd, off_t offset)   \
      NVSHIM_EXPORT(symbol);                                                                           \
  void* Hook_##symbol(void* address, size_t length, int protection, int flags, int fd, off_t offset) { \
    const bool known = fd_table().Byte(fd) != FdTable::kUnknown;                                       \
    const int mapped_fd = known ? MappableFd(fd) : fd;                                                 \
    void* const at = real().symbol(address, length, protection, flags, mapped_fd, offset);             \
    if (known && at != MAP_FAILED) Mapped(fd, reinterpret_cast<uint64_t>(at), length);                 \
    return at;                                                                                         \
  }
NVSHIM_MMAP(mmap)
NVSHIM_MMAP(mmap64)

// ---- waiting for events ----

int Hook_poll(pollfd* fds, nfds_t count, int timeout_ms) NVSHIM_EXPORT(poll);
int Hook_poll(pollfd* fds, nfds_t count, int timeout_ms) {
  return Polled(real().poll(fds, count, timeout_ms), fds, count);
}

int Hook___poll_chk(pollfd* fds, nfds_t count, int timeout_ms, size_t size_bytes) NVSHIM_EXPORT(__poll_chk);
int Hook___poll_chk(pollfd* fds, nfds_t count, int timeout_ms, size_t size_bytes) {
  return Polled(real().__poll_chk(fds, count, timeout_ms, size_bytes), fds, count);
}

int Hook_ppoll(pollfd* fds, nfds_t count, const timespec* timeout, const sigset_t* signals)
    NVSHIM_EXPORT(ppoll);
int Hook_ppoll(pollfd* fds, nfds_t count, const timespec* timeout, const sigset_t* signals) {
  return Polled(real().ppoll(fds, count, timeout, signals), fds, count);
}

int Hook___ppoll_chk(pollfd* fds, nfds_t count, const timespec* timeout, const sigset_t* signals,
                     size_t size_bytes) NVSHIM_EXPORT(__ppoll_chk);
int Hook___ppoll_chk(pollfd* fds, nfds_t count, const timespec* timeout, const sigset_t* signals,
                     size_t size_bytes) {
  return Polled(real().__ppoll_chk(fds, count, timeout, signals, size_bytes), fds, count);
}

int Hook_select(int fd_end, fd_set* readable, fd_set* writable, fd_set* exceptional, timeval* timeout)
    NVSHIM_EXPORT(select);
int Hook_select(int fd_end, fd_set* readable, fd_set* writable, fd_set* exceptional, timeval* timeout) {
  return Selected(real().select(fd_end, readable, writable, exceptional, timeout), fd_end, readable);
}

int Hook_pselect(int fd_end, fd_set* readable, fd_set* writable, fd_set* exceptional, const timespec* timeout,
                 const sigset_t* signals) NVSHIM_EXPORT(pselect);
int Hook_pselect(int fd_end, fd_set* readable, fd_set* writable, fd_set* exceptional, const timespec* timeout,
                 const sigset_t* signals) {
  return Selected(real().pselect(fd_end, readable, writable, exceptional, timeout, signals), fd_end,
                  readable);
}

int Hook_epoll_ctl(int epoll_fd, int operation, int fd, epoll_event* event) NVSHIM_EXPORT(epoll_ctl);
int Hook_epoll_ctl(int epoll_fd, int operation, int fd, epoll_event* event) {
  const int result = real().epoll_ctl(epoll_fd, operation, fd, event);
  if (result == 0 && (HasOsEvents() || fd_table().Byte(fd) != FdTable::kUnknown))
    epoll_files().Control(epoll_fd, operation, fd, event);
  return result;
}

int Hook_epoll_wait(int epoll_fd, epoll_event* events, int events_max, int timeout_ms)
    NVSHIM_EXPORT(epoll_wait);
int Hook_epoll_wait(int epoll_fd, epoll_event* events, int events_max, int timeout_ms) {
  return Epolled(real().epoll_wait(epoll_fd, events, events_max, timeout_ms), epoll_fd, events);
}

int Hook_epoll_pwait(int epoll_fd, epoll_event* events, int events_max, int timeout_ms,
                     const sigset_t* signals) NVSHIM_EXPORT(epoll_pwait);
int Hook_epoll_pwait(int epoll_fd, epoll_event* events, int events_max, int timeout_ms,
                     const sigset_t* signals) {
  return Epolled(real().epoll_pwait(epoll_fd, events, events_max, timeout_ms, signals), epoll_fd, events);
}

int Hook_epoll_pwait2(int epoll_fd, epoll_event* events, int events_max, const timespec* timeout,
                      const sigset_t* signals) NVSHIM_EXPORT(epoll_pwait2);
int Hook_epoll_pwait2(int epoll_fd, epoll_event* events, int events_max, const timespec* timeout,
                      const sigset_t* signals) {
  return Epolled(real().epoll_pwait2(epoll_fd, events, events_max, timeout, signals), epoll_fd, events);
}

// ---- stat ----

#define NVSHIM_STAT(symbol)                                                    \
  int Hook_##symbol(const char* path, struct stat* out) NVSHIM_EXPORT(symbol); \
  int Hook_##symbol(const char* path, struct stat* out) {                      \
    const Answer answer = TryStat(path, out);                                  \
    return answer.handled ? answer.result : real().symbol(path, out);          \
  }
NVSHIM_STAT(stat)
NVSHIM_STAT(stat64)
NVSHIM_STAT(lstat)
NVSHIM_STAT(lstat64)

#define NVSHIM_FSTAT(symbol)                                         \
  int Hook_##symbol(int fd, struct stat* out) NVSHIM_EXPORT(symbol); \
  int Hook_##symbol(int fd, struct stat* out) { return PatchedFstat(real().symbol(fd, out), fd, out); }
NVSHIM_FSTAT(fstat)
NVSHIM_FSTAT(fstat64)

#define NVSHIM_FSTATAT(symbol)                                                                           \
  int Hook_##symbol(int directory, const char* path, struct stat* out, int flags) NVSHIM_EXPORT(symbol); \
  int Hook_##symbol(int directory, const char* path, struct stat* out, int flags) {                      \
    const Answer answer = TryStat(path, out);                                                            \
    if (answer.handled) return answer.result;                                                            \
    return PatchedFstatat(real().symbol(directory, path, out, flags), directory, path, out, flags);      \
  }
NVSHIM_FSTATAT(fstatat)
NVSHIM_FSTATAT(fstatat64)

// The names that programs built before glibc 2.33 use, NVIDIA's libraries among them; `version` is that of
// the layout.
#define NVSHIM_XSTAT(symbol)                                                                \
  int Hook_##symbol(int version, const char* path, struct stat* out) NVSHIM_EXPORT(symbol); \
  int Hook_##symbol(int version, const char* path, struct stat* out) {                      \
    const Answer answer = TryStat(path, out);                                               \
    return answer.handled ? answer.result : real().symbol(version, path, out);              \
  }
NVSHIM_XSTAT(__xstat)
NVSHIM_XSTAT(__xstat64)
NVSHIM_XSTAT(__lxstat)
NVSHIM_XSTAT(__lxstat64)

#define NVSHIM_FXSTAT(symbol)                                                     \
  int Hook_##symbol(int version, int fd, struct stat* out) NVSHIM_EXPORT(symbol); \
  int Hook_##symbol(int version, int fd, struct stat* out) {                      \
    return PatchedFstat(real().symbol(version, fd, out), fd, out);                \
  }
NVSHIM_FXSTAT(__fxstat)
NVSHIM_FXSTAT(__fxstat64)

#define NVSHIM_FXSTATAT(symbol)                                                                              \
  int Hook_##symbol(int version, int directory, const char* path, struct stat* out, int flags)               \
      NVSHIM_EXPORT(symbol);                                                                                 \
  int Hook_##symbol(int version, int directory, const char* path, struct stat* out, int flags) {             \
    const Answer answer = TryStat(path, out);                                                                \
    if (answer.handled) return answer.result;                                                                \
    return PatchedFstatat(real().symbol(version, directory, path, out, flags), directory, path, out, flags); \
  }
NVSHIM_FXSTATAT(__fxstatat)
NVSHIM_FXSTATAT(__fxstatat64)

int Hook_statx(int directory, const char* path, int flags, unsigned mask, struct statx* out)
    NVSHIM_EXPORT(statx);
int Hook_statx(int directory, const char* path, int flags, unsigned mask, struct statx* out) {
  const Answer answer = Classify(path).kind == PathKind::kForeign ? Answer{} : StatxPath(path, out);
  if (answer.handled) return answer.result;
  const int result = real().statx(directory, path, flags, mask, out);
  const bool of_fd = (flags & AT_EMPTY_PATH) != 0 && (path == nullptr || path[0] == '\0');
  if (result == 0 && of_fd) PatchStatx(directory, out);
  return result;
}

int Hook_access(const char* path, int mode) NVSHIM_EXPORT(access);
int Hook_access(const char* path, int mode) {
  const Answer answer = Classify(path).kind == PathKind::kForeign ? Answer{} : AccessPath(path, mode);
  return answer.handled ? answer.result : real().access(path, mode);
}

int Hook_faccessat(int directory, const char* path, int mode, int flags) NVSHIM_EXPORT(faccessat);
int Hook_faccessat(int directory, const char* path, int mode, int flags) {
  const Answer answer = Classify(path).kind == PathKind::kForeign ? Answer{} : AccessPath(path, mode);
  return answer.handled ? answer.result : real().faccessat(directory, path, mode, flags);
}

// ---- what makes and changes nodes: a privileged client must find its work done, and do none ----

int Hook_mknod(const char* path, mode_t mode, dev_t device) NVSHIM_EXPORT(mknod);
int Hook_mknod(const char* path, mode_t mode, dev_t device) {
  const Answer answer = ChangePath(path);
  return answer.handled ? answer.result : real().mknod(path, mode, device);
}

int Hook_mknodat(int directory, const char* path, mode_t mode, dev_t device) NVSHIM_EXPORT(mknodat);
int Hook_mknodat(int directory, const char* path, mode_t mode, dev_t device) {
  const Answer answer = ChangePath(path);
  return answer.handled ? answer.result : real().mknodat(directory, path, mode, device);
}

int Hook___xmknod(int version, const char* path, mode_t mode, dev_t* device) NVSHIM_EXPORT(__xmknod);
int Hook___xmknod(int version, const char* path, mode_t mode, dev_t* device) {
  const Answer answer = ChangePath(path);
  return answer.handled ? answer.result : real().__xmknod(version, path, mode, device);
}

int Hook___xmknodat(int version, int directory, const char* path, mode_t mode, dev_t* device)
    NVSHIM_EXPORT(__xmknodat);
int Hook___xmknodat(int version, int directory, const char* path, mode_t mode, dev_t* device) {
  const Answer answer = ChangePath(path);
  return answer.handled ? answer.result : real().__xmknodat(version, directory, path, mode, device);
}

int Hook_chmod(const char* path, mode_t mode) NVSHIM_EXPORT(chmod);
int Hook_chmod(const char* path, mode_t mode) {
  const Answer answer = ChangePath(path);
  return answer.handled ? answer.result : real().chmod(path, mode);
}

int Hook_chown(const char* path, uid_t uid, gid_t gid) NVSHIM_EXPORT(chown);
int Hook_chown(const char* path, uid_t uid, gid_t gid) {
  const Answer answer = ChangePath(path);
  return answer.handled ? answer.result : real().chown(path, uid, gid);
}

int Hook_lchown(const char* path, uid_t uid, gid_t gid) NVSHIM_EXPORT(lchown);
int Hook_lchown(const char* path, uid_t uid, gid_t gid) {
  const Answer answer = ChangePath(path);
  return answer.handled ? answer.result : real().lchown(path, uid, gid);
}

int Hook_symlink(const char* target, const char* path) NVSHIM_EXPORT(symlink);
int Hook_symlink(const char* target, const char* path) {
  const Answer answer = LinkPath(target, path);
  return answer.handled ? answer.result : real().symlink(target, path);
}

int Hook_unlink(const char* path) NVSHIM_EXPORT(unlink);
int Hook_unlink(const char* path) {
  const Answer answer = ChangePath(path);
  return answer.handled ? answer.result : real().unlink(path);
}

int Hook_remove(const char* path) NVSHIM_EXPORT(remove);
int Hook_remove(const char* path) {
  const Answer answer = ChangePath(path);
  return answer.handled ? answer.result : real().remove(path);
}

}  // extern "C"
}  // namespace nvshim::preload
