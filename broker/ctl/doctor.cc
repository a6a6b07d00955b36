#include "broker/ctl/doctor.h"

#include <cstring>
#include <limits>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "broker/driver/table_for.h"

namespace nvshim::broker::ctl {
namespace {

// io_uring with polls that fire more than once; and a peer's pidfd, without which a number must do, which
// another process may get.
constexpr int kLinuxMin = 5013, kLinuxGood = 6005;  // major * 1000 + minor

// Rings of a worker count 8 KiB; a machine full of guests has 4096 workers.
constexpr uint64_t kLockedBytesMin = 64 << 10, kLockedBytesGood = 32 << 20;

// A context of CUDA opens about 40 files, a guest may have 4096.
constexpr uint64_t kFilesMin = 1024, kFilesGood = 65536;

constexpr char kNotNeeded[] = "not needed: the broker simulates a GPU";

Finding Ok(std::string seen) { return {Health::kOk, std::move(seen), ""}; }
Finding Warn(std::string seen, std::string remedy) {
  return {Health::kWarn, std::move(seen), std::move(remedy)};
}
Finding Fail(std::string seen, std::string remedy) {
  return {Health::kFail, std::move(seen), std::move(remedy)};
}

// Messages of ours are "what is wrong. What helps", or only the first.
Finding FailWith(const absl::Status& status, std::string remedy) {
  const std::string message(status.message());
  const size_t end = message.find(". ");
  if (end == std::string::npos) return Fail(message, std::move(remedy));
  return Fail(message.substr(0, end), message.substr(end + 2));
}

// "crw-rw----" without the first letter, and whose it is.
std::string WhoMay(Machine& machine, const struct stat& status) {
  std::string mode = "rwxrwxrwx";
  for (size_t i = 0; i < mode.size(); ++i)
    if ((status.st_mode & (0400u >> i)) == 0) mode[i] = '-';
  return absl::StrCat(mode, " ", machine.UserName(status.st_uid), " ", machine.GroupName(status.st_gid));
}

// ---- The kernel ----

Finding LookAtKernel(const Subject& subject) {
  const std::string release = subject.machine.KernelRelease();
  const std::vector<std::string> numbers = absl::StrSplit(release, absl::ByAnyChar(".-"));
  int major = 0, minor = 0;
  if (numbers.size() < 2 || !absl::SimpleAtoi(numbers[0], &major) || !absl::SimpleAtoi(numbers[1], &minor))
    return Warn(absl::StrCat("the kernel calls itself '", release, "'"), "Linux 6.5 or later is meant");
  const int version = major * 1000 + minor;
  if (version < kLinuxMin) return Fail("Linux " + release, "the broker needs Linux 5.13 or later");
  if (version < kLinuxGood)
    return Warn("Linux " + release,
                "from 6.5 on who connects is told by a pidfd, before by a number that can be taken over");
  return Ok("Linux " + release);
}

Finding LookAtRing(const Subject& subject) {
  const absl::Status status = subject.machine.TryRing();
  const auto disabled = subject.machine.Read("/proc/sys/kernel/io_uring_disabled");
  const std::string sysctl =
      disabled ? absl::StrCat("kernel.io_uring_disabled is ", disabled->substr(0, disabled->find('\n')))
               : "without the sysctl kernel.io_uring_disabled";
  if (status.ok() && disabled && !absl::StartsWith(*disabled, "0"))
    return Warn("you may use io_uring, and " + sysctl,
                "the broker's user may not, unless it is in the group of kernel.io_uring_group: sysctl "
                "kernel.io_uring_disabled=0");
  if (status.ok()) return Ok("usable; " + sysctl);
  return FailWith(status,
                  "sysctl kernel.io_uring_disabled=0; in a container a seccomp profile that allows it");
}

Finding LookAtMemfd(const Subject& subject) {
  const absl::Status status = subject.machine.TryMemfd();
  if (status.ok()) return Ok("sealed memfds can be made");
  return FailWith(
      status,
      "the broker and its guests share memory by memfd_create(2): a seccomp filter, or a limit of "
      "memory, stands in the way");
}

Finding LookAtUserfault(const Subject& subject) {
  const int error = subject.machine.TryUserfault();
  if (error == 0) return Ok("usable for faults of user mode");
  return Warn(
      absl::StrCat("userfaultfd(2): ", std::strerror(error)),
      "Linux 5.19 and a seccomp filter that allows it; without, cuMemHostRegister of private memory is "
      "refused, and a simulated GPU looks for work instead of sleeping");
}

// ---- Limits ----

// The second limit, the hard one, in a row of /proc/PID/limits.
std::optional<uint64_t> HardLimit(absl::string_view limits, absl::string_view row) {
  for (const absl::string_view line : absl::StrSplit(limits, '\n')) {
    if (!absl::StartsWith(line, row)) continue;
    const std::vector<absl::string_view> values =
        absl::StrSplit(line.substr(row.size()), ' ', absl::SkipEmpty());
    uint64_t value = 0;
    if (values.size() < 2) return std::nullopt;
    if (values[1] == "unlimited") return std::numeric_limits<uint64_t>::max();
    return absl::SimpleAtoi(values[1], &value) ? std::optional(value) : std::nullopt;
  }
  return std::nullopt;
}

struct LimitNeed {
  const char* row;  // of /proc/PID/limits
  const char* unit;
  uint64_t min, good;
  const char* remedy;
};

// A worker has the broker's limits. Without one, those of the caller stand for them.
Finding LookAtLimit(const Subject& subject, const LimitNeed& need) {
  std::string whose = "yours";
  std::string path = "/proc/self/limits";
  if (subject.broker.ok() && subject.broker->workers_size() > 0) {
    whose = "the broker's";
    path = absl::StrCat("/proc/", subject.broker->workers(0).pid(), "/limits");
  }
  const auto limit = HardLimit(subject.machine.Read(path).value_or(""), need.row);
  if (!limit) return Warn(path + " does not tell", need.remedy);
  const bool is_endless = *limit == std::numeric_limits<uint64_t>::max();
  const std::string seen =
      absl::StrCat(is_endless ? "unlimited" : absl::StrCat(*limit, " ", need.unit), " (", whose, ")");
  if (*limit < need.min) return Fail(seen, need.remedy);
  return *limit < need.good ? Warn(seen, need.remedy) : Ok(seen);
}

Finding LookAtLockedMemory(const Subject& subject) {
  return LookAtLimit(subject, {"Max locked memory", "bytes", kLockedBytesMin, kLockedBytesGood,
                               "each worker takes 8 KiB for its ring: LimitMEMLOCK=infinity in the unit, or "
                               "ulimit -l before it starts"});
}

Finding LookAtFileLimit(const Subject& subject) {
  return LookAtLimit(subject,
                     {"Max open files", "files", kFilesMin, kFilesGood,
                      "each open device file of a guest is a descriptor of its worker's: LimitNOFILE=524288 "
                      "in the unit, or ulimit -n before it starts"});
}

// ---- The GPU ----

Finding LookAtNodes(const Subject& subject) {
  if (!subject.needs_gpu) return Ok(kNotNeeded);
  std::vector<std::string> seen, missing, closed;
  std::vector<std::string> paths = {"/dev/nvidiactl", "/dev/nvidia-uvm"};
  uint32_t minor = 0;
  for (const std::string& name : subject.machine.List("/dev"))
    if (absl::StartsWith(name, "nvidia") && absl::SimpleAtoi(name.substr(6), &minor))
      paths.push_back("/dev/" + name);
  if (paths.size() == 2) paths.push_back("/dev/nvidia0");
  for (const std::string& path : paths) {
    const auto status = subject.machine.Stat(path);
    if (!status) {
      missing.push_back(path);
      continue;
    }
    seen.push_back(absl::StrCat(path, " ", WhoMay(subject.machine, *status)));
    if (!subject.machine.MayUse(path)) closed.push_back(path);
  }
  if (!missing.empty())
    return Fail("missing: " + absl::StrJoin(missing, ", "),
                "nvidia-modprobe -c 0 -u makes them, when the driver is loaded and the GPU is there");
  if (!closed.empty())
    return Warn(
        "you may not use " + absl::StrJoin(closed, ", ") + ": " + absl::StrJoin(seen, ", "),
        "the broker's user has to: see NVreg_DeviceFileMode of the driver, and DeviceAllow= of the unit");
  return Ok(absl::StrJoin(seen, ", "));
}

Finding LookAtDriver(const Subject& subject) {
  if (!subject.needs_gpu) return Ok(kNotNeeded);
  if (!subject.driver.ok())
    return FailWith(subject.driver.status(), "nvidia-smi has to work first; --driver=sim needs no driver");
  const std::string& version = subject.driver->version;
  const auto choice = TableFor(version);
  if (!choice.ok())
    return FailWith(
        choice.status(),
        "a driver of a branch that gpu-brokerctl abi list has; or docs/adding_a_driver_version.md");
  const std::string seen = absl::StrCat("NVIDIA driver ", version, ", ", subject.driver->gpus.size(),
                                        subject.driver->gpus.size() == 1 ? " GPU" : " GPUs");
  if (!choice->exact)
    return Warn(
        absl::StrCat(seen, "; the tables of ", std::string(choice->table->driver_version), " are used"),
        "what is new in it is refused to guests: docs/adding_a_driver_version.md");
  return Ok(seen + ", which has tables of its own");
}

// While somebody has a GPU open the driver keeps it initialised, and the broker has.
Finding LookAtPersistence(const Subject& subject) {
  if (!subject.needs_gpu) return Ok(kNotNeeded);
  if (subject.broker.ok()) return Ok("the broker that runs keeps the GPUs initialised");
  if (subject.machine.Stat("/run/nvidia-persistenced/socket")) return Ok("nvidia-persistenced runs");
  return Warn("nobody keeps the GPUs initialised",
              "the broker does while it runs: systemctl start gpu-broker");
}

// ---- NVIDIA's libraries ----

constexpr const char* kLibraries[] = {"libcuda.so.1", "libnvidia-ml.so.1"};
constexpr const char* kLibraryFolders[] = {"/usr/lib/x86_64-linux-gnu",
                                           "/usr/lib/x86_64-linux-gnu/nvidia/current", "/usr/lib64",
                                           "/usr/local/nvidia/lib64"};

// What stands behind ".so." in the name of the file itself: "535.261.03".
std::string VersionIn(const std::string& path) {
  const size_t suffix = path.rfind(".so.");
  const std::string version = suffix == std::string::npos ? "" : path.substr(suffix + 4);
  return absl::StrContains(version, ".") ? version : "";
}

// NVIDIA's libraries refuse a driver of another version than theirs.
Finding LookAtLibraries(const Subject& subject) {
  const std::string wanted = subject.broker.ok()   ? subject.broker->driver_version()
                             : subject.driver.ok() ? subject.driver->version
                                                   : "";
  std::vector<std::string> seen, wrong;
  for (const char* library : kLibraries) {
    std::optional<std::string> path;
    for (const char* folder : kLibraryFolders)
      if (!path) path = subject.machine.RealPath(absl::StrCat(folder, "/", library));
    if (!path) continue;
    const std::string version = VersionIn(*path);
    seen.push_back(absl::StrCat(library, " ", version.empty() ? "of unknown version" : version));
    if (!version.empty() && !wanted.empty() && version != wanted) wrong.push_back(library);
  }
  const std::string all = absl::StrJoin(seen, ", ");
  if (seen.size() < std::size(kLibraries))
    return Warn(
        seen.empty() ? "neither libcuda.so.1 nor libnvidia-ml.so.1" : "only " + all,
        absl::StrCat("guests need both where they run, on this machine or in a container, of the version ",
                     wanted.empty() ? "of the driver" : wanted));
  if (!wrong.empty())
    return Fail(absl::StrCat(all, "; the driver is ", wanted),
                absl::StrCat("install, or bind mount, the libraries of ", wanted));
  if (wanted.empty()) return Warn(all, "no driver's version is known to compare with");
  return Ok(absl::StrCat(all, ", as the driver"));
}

// ---- The broker ----

Finding LookAtControlSocket(const Subject& subject) {
  if (!subject.broker.ok()) return FailWith(subject.broker.status(), "systemctl status gpu-broker says more");
  return Ok(absl::StrCat("gpu-broker ", subject.broker->version(), " answers, ", subject.broker->guests(),
                         subject.broker->guests() == 1 ? " guest" : " guests"));
}

// To connect would be to become a guest.
Finding LookAtGuestSocket(const Subject& subject) {
  const auto status = subject.machine.Stat(subject.socket);
  if (!status)
    return Fail(absl::StrCat("there is no ", subject.socket),
                "systemctl start gpu-broker.socket; where the broker has another --socket, name it");
  const std::string seen = absl::StrCat(subject.socket, " ", WhoMay(subject.machine, *status));
  if (!S_ISSOCK(status->st_mode))
    return Fail(seen + " is no socket", "remove it, and start the broker again");
  if (!subject.machine.MayUse(subject.socket))
    return Warn(
        "you may not connect to " + seen,
        absl::StrCat("adduser USER ", subject.machine.GroupName(status->st_gid), ", then log in again"));
  return Ok(seen);
}

constexpr Check kChecks[] = {
    {"kernel", LookAtKernel},
    {"io_uring", LookAtRing},
    {"memfd", LookAtMemfd},
    {"userfaultfd", LookAtUserfault},
    {"locked memory", LookAtLockedMemory},
    {"open files", LookAtFileLimit},
    {"device files", LookAtNodes},
    {"driver", LookAtDriver},
    {"persistence", LookAtPersistence},
    {"libraries", LookAtLibraries},
    {"control socket", LookAtControlSocket},
    {"guests' socket", LookAtGuestSocket},
};

}  // namespace

Subject Examine(Machine& machine, const std::string& socket, const std::string& driver) {
  auto broker = machine.AskBroker();
  const bool needs_gpu = driver.empty() ? !broker.ok() || broker->driver() == "kernel" : driver == "kernel";
  absl::StatusOr<DriverInfo> info = absl::NotFoundError("no driver is needed");
  if (needs_gpu) info = machine.Driver();
  return {machine, socket, std::move(broker), needs_gpu, std::move(info)};
}

std::span<const Check> Checks() { return kChecks; }

}  // namespace nvshim::broker::ctl
