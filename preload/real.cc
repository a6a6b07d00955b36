#include "preload/real.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>

#include "preload/guard.h"

// The names that glibc 2.34 moved into libc.so.6 are bound to their older version, which every libc has.
// Weak, because before 2.34 they live in libdl.so.2 and libpthread.so.0, which a small program does not load.
extern "C" {
extern void* OldDlsym(void* handle, const char* name) __attribute__((weak));
extern char* OldDlerror() __attribute__((weak));
}
asm(".symver OldDlsym, dlsym@GLIBC_2.2.5");
asm(".symver OldDlerror, dlerror@GLIBC_2.2.5");

namespace nvshim::preload {

namespace {

// The kernel's answer as libc gives it.
int Answer(long result) {
  if (result >= 0) return static_cast<int>(result);
  errno = static_cast<int>(-result);
  return -1;
}

// The mode that follows the flags, where there is one. O_TMPFILE is more than one bit.
bool TakesMode(int flags) { return (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE; }

int RawOpen(const char* path, int flags, ...) {
  mode_t mode = 0;
  if (TakesMode(flags)) {
    va_list arguments;
    va_start(arguments, flags);
    mode = va_arg(arguments, mode_t);
    va_end(arguments);
  }
  return Answer(Syscall(SYS_openat, AT_FDCWD, path, flags, mode));
}

int RawOpenat(int directory, const char* path, int flags, ...) {
  mode_t mode = 0;
  if (TakesMode(flags)) {
    va_list arguments;
    va_start(arguments, flags);
    mode = va_arg(arguments, mode_t);
    va_end(arguments);
  }
  return Answer(Syscall(SYS_openat, directory, path, flags, mode));
}

int RawIoctl(int fd, unsigned long request, ...) {
  va_list arguments;
  va_start(arguments, request);
  void* const argument = va_arg(arguments, void*);
  va_end(arguments);
  return Answer(Syscall(SYS_ioctl, fd, request, argument));
}

int RawOpen2(const char* path, int flags) { return Answer(Syscall(SYS_openat, AT_FDCWD, path, flags, 0)); }
int RawOpenat2(int directory, const char* path, int flags) {
  return Answer(Syscall(SYS_openat, directory, path, flags, 0));
}
int RawClose(int fd) { return Answer(Syscall(SYS_close, fd)); }

int RawFstatat(int directory, const char* path, struct stat* out, int flags) {
  return Answer(Syscall(SYS_newfstatat, directory, path, out, flags));
}
int RawStat(const char* path, struct stat* out) { return RawFstatat(AT_FDCWD, path, out, 0); }
int RawLstat(const char* path, struct stat* out) {
  return RawFstatat(AT_FDCWD, path, out, AT_SYMLINK_NOFOLLOW);
}
int RawFstat(int fd, struct stat* out) { return Answer(Syscall(SYS_fstat, fd, out)); }
int RawXstat(int, const char* path, struct stat* out) { return RawStat(path, out); }
int RawLxstat(int, const char* path, struct stat* out) { return RawLstat(path, out); }
int RawFxstat(int, int fd, struct stat* out) { return RawFstat(fd, out); }
int RawFxstatat(int, int directory, const char* path, struct stat* out, int flags) {
  return RawFstatat(directory, path, out, flags);
}
int RawStatx(int directory, const char* path, int flags, unsigned mask, struct statx* out) {
  return Answer(Syscall(SYS_statx, directory, path, flags, mask, out));
}
int RawAccess(const char* path, int mode) { return Answer(Syscall(SYS_access, path, mode)); }
int RawFaccessat(int directory, const char* path, int mode, int) {
  return Answer(Syscall(SYS_faccessat, directory, path, mode));
}

// What fopen's mode means to open(2).
int FlagsOfMode(const char* mode) {
  int flags = mode[0] == 'r' ? O_RDONLY : O_WRONLY | O_CREAT | (mode[0] == 'a' ? O_APPEND : O_TRUNC);
  for (const char* c = mode; *c != '\0' && *c != ','; ++c) {
    if (*c == '+') flags = (flags & ~O_ACCMODE) | O_RDWR;
    if (*c == 'e') flags |= O_CLOEXEC;
    if (*c == 'x') flags |= O_EXCL;
  }
  return flags;
}

FILE* RawFopen(const char* path, const char* mode) {
  const int fd = Answer(Syscall(SYS_openat, AT_FDCWD, path, FlagsOfMode(mode), 0666));
  if (fd < 0) return nullptr;
  FILE* const file = fdopen(fd, mode);
  if (file == nullptr) CloseFd(fd);
  return file;
}

int RawMknodat(int directory, const char* path, mode_t mode, dev_t device) {
  return Answer(Syscall(SYS_mknodat, directory, path, mode, device));
}
int RawMknod(const char* path, mode_t mode, dev_t device) { return RawMknodat(AT_FDCWD, path, mode, device); }
int RawXmknod(int, const char* path, mode_t mode, dev_t* device) { return RawMknod(path, mode, *device); }
int RawXmknodat(int, int directory, const char* path, mode_t mode, dev_t* device) {
  return RawMknodat(directory, path, mode, *device);
}
int RawChmod(const char* path, mode_t mode) { return Answer(Syscall(SYS_chmod, path, mode)); }
int RawChown(const char* path, uid_t uid, gid_t gid) { return Answer(Syscall(SYS_chown, path, uid, gid)); }
int RawLchown(const char* path, uid_t uid, gid_t gid) { return Answer(Syscall(SYS_lchown, path, uid, gid)); }
int RawSymlink(const char* target, const char* path) { return Answer(Syscall(SYS_symlink, target, path)); }
int RawUnlink(const char* path) { return Answer(Syscall(SYS_unlink, path)); }
int RawRemove(const char* path) {
  const long result = Syscall(SYS_unlink, path);
  return Answer(result == -EISDIR ? Syscall(SYS_rmdir, path) : result);
}

void* RawMmap(void* address, size_t length, int protection, int flags, int fd, off_t offset) {
  const long result = Syscall(SYS_mmap, address, length, protection, flags, fd, offset);
  if (result >= 0 || result < -4095) return reinterpret_cast<void*>(result);
  errno = static_cast<int>(-result);
  return reinterpret_cast<void*>(-1);  // MAP_FAILED
}

// The kernel's signal set, which is shorter than libc's.
constexpr size_t kSignalSetBytes = 8;

int RawPoll(pollfd* fds, nfds_t count, int timeout_ms) {
  return Answer(Syscall(SYS_poll, fds, count, timeout_ms));
}
// The kernel writes the time that is left into its argument; these functions do not.
int RawPpoll(pollfd* fds, nfds_t count, const timespec* timeout, const sigset_t* signals) {
  timespec left = timeout == nullptr ? timespec{} : *timeout;
  return Answer(
      Syscall(SYS_ppoll, fds, count, timeout == nullptr ? nullptr : &left, signals, kSignalSetBytes));
}
int RawPollChk(pollfd* fds, nfds_t count, int timeout_ms, size_t) { return RawPoll(fds, count, timeout_ms); }
int RawPpollChk(pollfd* fds, nfds_t count, const timespec* timeout, const sigset_t* signals, size_t) {
  return RawPpoll(fds, count, timeout, signals);
}
int RawSelect(int fd_end, fd_set* readable, fd_set* writable, fd_set* exceptional, timeval* timeout) {
  return Answer(Syscall(SYS_select, fd_end, readable, writable, exceptional, timeout));
}
int RawPselect(int fd_end, fd_set* readable, fd_set* writable, fd_set* exceptional, const timespec* timeout,
               const sigset_t* signals) {
  timespec left = timeout == nullptr ? timespec{} : *timeout;
  const struct {
    const sigset_t* set;
    size_t size_bytes;
  } mask = {signals, kSignalSetBytes};
  return Answer(Syscall(SYS_pselect6, fd_end, readable, writable, exceptional,
                        timeout == nullptr ? nullptr : &left, &mask));
}
int RawEpollCtl(int epoll_fd, int operation, int fd, epoll_event* event) {
  return Answer(Syscall(SYS_epoll_ctl, epoll_fd, operation, fd, event));
}
int RawEpollPwait(int epoll_fd, epoll_event* events, int events_max, int timeout_ms,
                  const sigset_t* signals) {
  return Answer(Syscall(SYS_epoll_pwait, epoll_fd, events, events_max, timeout_ms, signals, kSignalSetBytes));
}
int RawEpollWait(int epoll_fd, epoll_event* events, int events_max, int timeout_ms) {
  return RawEpollPwait(epoll_fd, events, events_max, timeout_ms, nullptr);
}
int RawEpollPwait2(int epoll_fd, epoll_event* events, int events_max, const timespec* timeout,
                   const sigset_t* signals) {
  return Answer(Syscall(SYS_epoll_pwait2, epoll_fd, events, events_max, timeout, signals, kSignalSetBytes));
}

template <typename Fn>
void Upgrade(Fn** entry, const char* name) {
  if (void* next = OldDlsym(RTLD_NEXT, name))
    __atomic_store_n(entry, reinterpret_cast<Fn*>(next), __ATOMIC_RELEASE);
}

}  // namespace

#define NVSHIM_INITIAL(name, type, raw) raw,
constinit RealFunctions g_real = {NVSHIM_REAL_FUNCTIONS(NVSHIM_INITIAL)};
#undef NVSHIM_INITIAL

void UpgradeRealFunctions() {
  if (OldDlsym == nullptr) return;
  const ErrnoKeeper keep_errno;
#define NVSHIM_UPGRADE(name, type, raw) Upgrade(&g_real.name, #name);
  NVSHIM_REAL_FUNCTIONS(NVSHIM_UPGRADE)
#undef NVSHIM_UPGRADE
  // Older libcs lack some of the names; the host program must not find our failure in dlerror().
  if (OldDlerror != nullptr) OldDlerror();
}

}  // namespace nvshim::preload
