// The functions that exports.cc stands in front of. The table is never null: it starts with versions that
// call the kernel, because constructors of other libraries and other people's allocators call open() before
// our constructor has run; that constructor then puts the next definition in the search order (libc's, or
// another interposer's) in their place. Read on every thread at any time, written by the constructor only.
#ifndef PRELOAD_REAL_H_
#define PRELOAD_REAL_H_

#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/stat.h>
#include <sys/types.h>

namespace nvshim::preload {

using OpenFn = int(const char*, int, ...);
using Open2Fn = int(const char*, int);
using OpenatFn = int(int, const char*, int, ...);
using Openat2Fn = int(int, const char*, int);
using IoctlFn = int(int, unsigned long, ...);
using CloseFn = int(int);
using StatFn = int(const char*, struct stat*);
using FstatFn = int(int, struct stat*);
using FstatatFn = int(int, const char*, struct stat*, int);
using XstatFn = int(int, const char*, struct stat*);
using FxstatFn = int(int, int, struct stat*);
using FxstatatFn = int(int, int, const char*, struct stat*, int);
using StatxFn = int(int, const char*, int, unsigned, struct statx*);
using AccessFn = int(const char*, int);
using FaccessatFn = int(int, const char*, int, int);
using FopenFn = FILE*(const char*, const char*);
using MknodFn = int(const char*, mode_t, dev_t);
using MknodatFn = int(int, const char*, mode_t, dev_t);
using XmknodFn = int(int, const char*, mode_t, dev_t*);
using XmknodatFn = int(int, int, const char*, mode_t, dev_t*);
using ChmodFn = int(const char*, mode_t);
using ChownFn = int(const char*, uid_t, gid_t);
using SymlinkFn = int(const char*, const char*);
using UnlinkFn = int(const char*);
using MmapFn = void*(void*, size_t, int, int, int, off_t);
using PollFn = int(pollfd*, nfds_t, int);
using PpollFn = int(pollfd*, nfds_t, const timespec*, const sigset_t*);
using PollChkFn = int(pollfd*, nfds_t, int, size_t);
using PpollChkFn = int(pollfd*, nfds_t, const timespec*, const sigset_t*, size_t);
using SelectFn = int(int, fd_set*, fd_set*, fd_set*, timeval*);
using PselectFn = int(int, fd_set*, fd_set*, fd_set*, const timespec*, const sigset_t*);
using EpollCtlFn = int(int, int, int, epoll_event*);
using EpollWaitFn = int(int, epoll_event*, int, int);
using EpollPwaitFn = int(int, epoll_event*, int, int, const sigset_t*);
using EpollPwait2Fn = int(int, epoll_event*, int, const timespec*, const sigset_t*);

// Each hooked name, its type, and the version that needs no libc. struct stat64 is struct stat on x86-64, so
// the names with and without 64 share a type.
#define NVSHIM_REAL_FUNCTIONS(X)              \
  X(open, OpenFn, RawOpen)                    \
  X(open64, OpenFn, RawOpen)                  \
  X(__open, OpenFn, RawOpen)                  \
  X(__open64, OpenFn, RawOpen)                \
  X(__open_2, Open2Fn, RawOpen2)              \
  X(__open64_2, Open2Fn, RawOpen2)            \
  X(openat, OpenatFn, RawOpenat)              \
  X(openat64, OpenatFn, RawOpenat)            \
  X(__openat_2, Openat2Fn, RawOpenat2)        \
  X(__openat64_2, Openat2Fn, RawOpenat2)      \
  X(ioctl, IoctlFn, RawIoctl)                 \
  X(close, CloseFn, RawClose)                 \
  X(__close, CloseFn, RawClose)               \
  X(stat, StatFn, RawStat)                    \
  X(stat64, StatFn, RawStat)                  \
  X(lstat, StatFn, RawLstat)                  \
  X(lstat64, StatFn, RawLstat)                \
  X(fstat, FstatFn, RawFstat)                 \
  X(fstat64, FstatFn, RawFstat)               \
  X(fstatat, FstatatFn, RawFstatat)           \
  X(fstatat64, FstatatFn, RawFstatat)         \
  X(__xstat, XstatFn, RawXstat)               \
  X(__xstat64, XstatFn, RawXstat)             \
  X(__lxstat, XstatFn, RawLxstat)             \
  X(__lxstat64, XstatFn, RawLxstat)           \
  X(__fxstat, FxstatFn, RawFxstat)            \
  X(__fxstat64, FxstatFn, RawFxstat)          \
  X(__fxstatat, FxstatatFn, RawFxstatat)      \
  X(__fxstatat64, FxstatatFn, RawFxstatat)    \
  X(statx, StatxFn, RawStatx)                 \
  X(access, AccessFn, RawAccess)              \
  X(faccessat, FaccessatFn, RawFaccessat)     \
  X(fopen, FopenFn, RawFopen)                 \
  X(fopen64, FopenFn, RawFopen)               \
  X(mknod, MknodFn, RawMknod)                 \
  X(mknodat, MknodatFn, RawMknodat)           \
  X(__xmknod, XmknodFn, RawXmknod)            \
  X(__xmknodat, XmknodatFn, RawXmknodat)      \
  X(chmod, ChmodFn, RawChmod)                 \
  X(chown, ChownFn, RawChown)                 \
  X(lchown, ChownFn, RawLchown)               \
  X(symlink, SymlinkFn, RawSymlink)           \
  X(unlink, UnlinkFn, RawUnlink)              \
  X(remove, UnlinkFn, RawRemove)              \
  X(mmap, MmapFn, RawMmap)                    \
  X(mmap64, MmapFn, RawMmap)                  \
  X(poll, PollFn, RawPoll)                    \
  X(__poll_chk, PollChkFn, RawPollChk)        \
  X(ppoll, PpollFn, RawPpoll)                 \
  X(__ppoll_chk, PpollChkFn, RawPpollChk)     \
  X(select, SelectFn, RawSelect)              \
  X(pselect, PselectFn, RawPselect)           \
  X(epoll_ctl, EpollCtlFn, RawEpollCtl)       \
  X(epoll_wait, EpollWaitFn, RawEpollWait)    \
  X(epoll_pwait, EpollPwaitFn, RawEpollPwait) \
  X(epoll_pwait2, EpollPwait2Fn, RawEpollPwait2)

struct RealFunctions {
#define NVSHIM_MEMBER(name, type, raw) type* name;
  NVSHIM_REAL_FUNCTIONS(NVSHIM_MEMBER)
#undef NVSHIM_MEMBER
};

extern RealFunctions g_real;  // for UpgradeRealFunctions and real() only
inline const RealFunctions& real() { return g_real; }

// Looks the next definitions up. From the constructor only: a look-up that fails allocates.
void UpgradeRealFunctions();

}  // namespace nvshim::preload

#endif  // PRELOAD_REAL_H_
