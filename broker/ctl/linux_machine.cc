#include "broker/ctl/linux_machine.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/userfaultfd.h>
#include <pwd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "broker/driver/kernel/discovery.h"
#include "broker/driver/kernel/linux_kernel.h"
#include "broker/io/fd.h"
#include "broker/io/loop.h"
#include "broker/io/sealed_memfd.h"
#include "broker/supervisor/control_client.h"

namespace nvshim::broker::ctl {
namespace {

constexpr long kUserModeOnly = 1;  // UFFD_USER_MODE_ONLY, Linux 5.11

class LinuxMachine : public Machine {
 public:
  explicit LinuxMachine(std::string socket) : socket_(std::move(socket)) {}

  std::string KernelRelease() override {
    utsname name{};
    return uname(&name) == 0 ? name.release : "";
  }

  absl::Status TryRing() override { return Loop::Create().status(); }

  // With what the shim asks for.
  int TryUserfault() override {
    const Fd fd(static_cast<int>(syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | kUserModeOnly)));
    if (!fd.valid()) return errno;
    uffdio_api api{};
    api.api = UFFD_API;
    api.features = UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_WP_HUGETLBFS_SHMEM;
    return ioctl(fd.get(), UFFDIO_API, &api) == 0 ? 0 : errno;
  }

  absl::Status TryMemfd() override { return CreateSealedMemfd("doctor", 1).status(); }

  std::optional<std::string> Read(const std::string& path) override { return kernel_->Read(path); }
  std::vector<std::string> List(const std::string& folder) override { return kernel_->List(folder); }

  std::optional<std::string> RealPath(const std::string& path) override {
    std::error_code error;
    const auto real = std::filesystem::canonical(path, error);
    return error ? std::nullopt : std::optional(real.string());
  }

  std::optional<struct stat> Stat(const std::string& path) override {
    struct stat status;
    return stat(path.c_str(), &status) == 0 ? std::optional(status) : std::nullopt;
  }

  bool MayUse(const std::string& path) override { return access(path.c_str(), R_OK | W_OK) == 0; }

  std::string UserName(uid_t uid) override {
    const passwd* const user = getpwuid(uid);
    return user == nullptr ? absl::StrCat(uid) : user->pw_name;
  }

  std::string GroupName(gid_t gid) override {
    const group* const found = getgrgid(gid);
    return found == nullptr ? absl::StrCat(gid) : found->gr_name;
  }

  absl::StatusOr<DriverInfo> Driver() override { return kernel::Discover(*kernel_); }
  absl::StatusOr<BrokerStatistics> AskBroker() override { return AskStatistics(socket_); }

 private:
  const std::string socket_;
  const std::unique_ptr<kernel::Kernel> kernel_ = kernel::MakeLinuxKernel();
};

}  // namespace

std::unique_ptr<Machine> MakeLinuxMachine(const std::string& socket) {
  return std::make_unique<LinuxMachine>(socket);
}

}  // namespace nvshim::broker::ctl
