// [unsafe] System calls.
//
// Nothing tells a process that an open file which it gave away is gone from all others. But an epoll instance
// holds no reference to the files in it, and forgets one when the last descriptor and the last mapping of it
// are gone; and what is in the instance stands in its /proc/self/fdinfo entry. So watched files are in one
// that nobody ever waits on.
#include "broker/driver/kernel/linux_kernel.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <string_view>

namespace nvshim::broker::kernel {
namespace {

// Above what any file read here has: a watched file is a line of 70 characters.
constexpr size_t kFileBytesMax = 16 << 20;

class LinuxKernel final : public Kernel {
 public:
  ~LinuxKernel() override {
    if (watched_ >= 0) close(watched_);
  }

  int Open(const std::string& path, int flags) override {
    const int fd = open(path.c_str(), flags | O_CLOEXEC);
    return fd >= 0 ? fd : -errno;
  }

  int Ioctl(int fd, uint32_t request, void* argument) override {
    return ioctl(fd, request, argument) < 0 ? errno : 0;
  }

  void Close(int fd) override { close(fd); }

  std::optional<std::string> Read(const std::string& path) override {
    const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return std::nullopt;
    std::string contents;
    char piece[4096];
    ssize_t count;
    while ((count = read(fd, piece, sizeof(piece))) > 0 && contents.size() < kFileBytesMax)
      contents.append(piece, static_cast<size_t>(count));
    close(fd);
    return count < 0 ? std::nullopt : std::optional(std::move(contents));
  }

  std::vector<std::string> List(const std::string& path) override {
    std::vector<std::string> names;
    DIR* const folder = opendir(path.c_str());
    if (folder == nullptr) return names;
    while (const dirent* entry = readdir(folder))
      if (const std::string name = entry->d_name; name != "." && name != "..") names.push_back(name);
    closedir(folder);
    return names;
  }

  bool Watch(int fd, uint64_t id) override {
    if (watched_ < 0) watched_ = epoll_create1(EPOLL_CLOEXEC);
    epoll_event none = {.events = 0, .data = {.u64 = id}};
    if (watched_ < 0 || epoll_ctl(watched_, EPOLL_CTL_ADD, fd, &none) != 0) return false;
    given_.insert(id);
    return true;
  }

  absl::flat_hash_set<uint64_t> Held() override {
    if (given_.empty()) return given_;
    const auto info = Read("/proc/self/fdinfo/" + std::to_string(watched_));
    if (!info) return given_;  // no telling: nothing counts as gone
    absl::flat_hash_set<uint64_t> held;
    constexpr std::string_view kData = " data:";
    for (size_t at = info->find(kData); at != std::string::npos; at = info->find(kData, at)) {
      at = info->find_first_not_of(' ', at + kData.size());
      uint64_t id = 0;
      if (at != std::string::npos) std::from_chars(info->data() + at, info->data() + info->size(), id, 16);
      held.insert(id);
    }
    given_ = held;
    return held;
  }

 private:
  int watched_ = -1;
  absl::flat_hash_set<uint64_t> given_;  // what Held would say at most
};

}  // namespace

std::unique_ptr<Kernel> MakeLinuxKernel() { return std::make_unique<LinuxKernel>(); }

}  // namespace nvshim::broker::kernel
