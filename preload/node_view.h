// What the host program sees where NVIDIA's device nodes and small files would be: stat, access, and the few
// calls by which NVIDIA's libraries, run as root, would create nodes of their own. Contents and existence
// come from the broker; the file system is not touched. Any thread.
#ifndef PRELOAD_NODE_VIEW_H_
#define PRELOAD_NODE_VIEW_H_

#include <sys/stat.h>

#include <string_view>

#include "preload/paths.h"

namespace nvshim::preload {

enum class View {
  kForeign,  // the real function answers
  kMissing,  // ENOENT
  kDevice,
  kFile,
  kDirectory,  // above a file that the broker supplies
};

struct NodeView {
  View view = View::kForeign;
  DeviceClass device_class = DeviceClass::kNone;
  uint32_t minor = 0;
  uint32_t uvm_major = 0;
  std::string_view contents = {};  // of kFile

  mode_t mode() const {
    return view == View::kDevice ? S_IFCHR | 0666 : view == View::kFile ? S_IFREG | 0444 : S_IFDIR | 0555;
  }
  dev_t device() const;  // of kDevice
};

// What is at `path`. Connects for paths that are NVIDIA's by name. Leaves errno alone.
NodeView LookAt(const char* path);

// What an open `fd` shows: a placeholder looks like the device file it stands for. `status` is what the
// kernel says of it, to tell in a moment that it is no socket.
NodeView LookAtFd(int fd, const struct stat& status);

void FillStat(const NodeView& node, struct stat* out);
void FillStatx(const NodeView& node, struct statx* out);

// access(2) of the node: 0 or an errno.
int CheckAccess(const NodeView& node, int mode);

// True for what NVIDIA's libraries, when privileged, make and change: device files and the links to them.
bool IsDeviceOrLink(const char* path);

// The answer to mknod, chmod, chown, symlink, unlink and remove of such a path: 0 when the device is there
// already, so that a privileged program finds its work done; EPERM when it may not be made.
int CheckChange(const char* path);

// A read-only descriptor of the contents of a virtual file, or a negative errno.
int OpenContents(const NodeView& node, int flags);

}  // namespace nvshim::preload

#endif  // PRELOAD_NODE_VIEW_H_
