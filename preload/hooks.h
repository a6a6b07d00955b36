// The decisions behind the trampolines of exports.cc, one function per family: is this path or fd ours, and
// if so, what is the answer? Each is called only after a look at the first characters of the path, or at one
// byte of the fd table, has not excluded it. Any thread, any signal handler.
#ifndef PRELOAD_HOOKS_H_
#define PRELOAD_HOOKS_H_

#include <stdio.h>
#include <sys/stat.h>

#include "preload/answer.h"
#include "preload/paths.h"

namespace nvshim::preload {

// open(2) of a path that is not foreign. A cancellation point, as the real one.
Answer OpenPath(const char* path, const PathInfo& info, int flags);

// fopen(3) of such a path. True when `*file` is the answer (null with errno set, perhaps).
bool FopenPath(const char* path, const PathInfo& info, const char* mode, FILE** file);

Answer StatPath(const char* path, struct stat* out);
Answer StatxPath(const char* path, struct statx* out);
Answer AccessPath(const char* path, int mode);

// After a successful real fstat into `out`: makes a placeholder look like its device file.
void PatchFstat(int fd, struct stat* out);
// The same for a statx of an fd (an empty path).
void PatchStatx(int fd, struct statx* out);

// mknod, chmod, chown, symlink, unlink, remove of `path`.
Answer ChangePath(const char* path);
// symlink: also by what the link would lead to.
Answer LinkPath(const char* target, const char* path);

}  // namespace nvshim::preload

#endif  // PRELOAD_HOOKS_H_
