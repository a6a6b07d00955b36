// Law: on a machine that has all, no check finds anything; and for each check there is a machine with one
// thing wrong on which that check, and no other, says so and has a remedy.
#include "broker/ctl/doctor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <functional>
#include <map>
#include <set>

namespace nvshim::broker::ctl {
namespace {

using testing::HasSubstr;

constexpr char kSocket[] = "/run/gpu-broker/gpu-broker.sock";
constexpr char kVersion[] = "535.261.03";
constexpr char kLimits[] =
    "Limit                     Soft Limit           Hard Limit           Units     \n"
    "Max open files            1024                 524288               files     \n"
    "Max locked memory         8388608              unlimited            bytes     \n";
constexpr char kLibraryFolder[] = "/usr/lib/x86_64-linux-gnu/";

struct stat Node(mode_t mode) {
  struct stat status {};
  status.st_mode = mode;
  return status;
}

// A machine with an H100, all that is needed, and a broker.
class FakeMachine : public Machine {
 public:
  FakeMachine() {
    broker.set_driver("kernel");
    broker.set_driver_version(kVersion);
    broker.set_version("0.1.0");
    broker.add_workers()->set_pid(77);
    info.version = kVersion;
    info.gpus.resize(1);
    for (const char* path : {"/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia0"})
      nodes[path] = Node(S_IFCHR | 0666);
    nodes[kSocket] = Node(S_IFSOCK | 0660);
    files["/proc/sys/kernel/io_uring_disabled"] = "0\n";
    files["/proc/77/limits"] = kLimits;
    for (const char* library : {"libcuda.so.1", "libnvidia-ml.so.1"})
      links[std::string(kLibraryFolder) + library] =
          std::string(kLibraryFolder) + "nvidia/current/" +
          std::string(library).substr(0, std::string(library).size() - 1) + kVersion;
  }

  std::string KernelRelease() override { return release; }
  absl::Status TryRing() override { return ring; }
  int TryUserfault() override { return userfault; }
  absl::Status TryMemfd() override { return memfd; }
  std::optional<std::string> Read(const std::string& path) override { return Find(files, path); }
  std::vector<std::string> List(const std::string& folder) override {
    std::vector<std::string> names = {"null", "nvidia-caps"};
    for (const auto& [path, status] : nodes)
      if (path.rfind(folder + "/", 0) == 0) names.push_back(path.substr(folder.size() + 1));
    return names;
  }
  std::optional<std::string> RealPath(const std::string& path) override { return Find(links, path); }
  std::optional<struct stat> Stat(const std::string& path) override { return Find(nodes, path); }
  bool MayUse(const std::string& path) override { return !closed.contains(path); }
  std::string UserName(uid_t) override { return "owner"; }
  std::string GroupName(gid_t) override { return "friends"; }
  absl::StatusOr<DriverInfo> Driver() override {
    if (!driver.ok()) return driver;
    return info;
  }
  absl::StatusOr<BrokerStatistics> AskBroker() override {
    if (!answer.ok()) return answer;
    return broker;
  }

  std::string release = "6.8.0-31-generic";
  absl::Status ring, memfd, driver, answer;
  int userfault = 0;
  std::map<std::string, std::string> files, links;
  std::map<std::string, struct stat> nodes;
  std::set<std::string> closed;
  DriverInfo info;
  BrokerStatistics broker;

 private:
  template <typename T>
  static std::optional<T> Find(const std::map<std::string, T>& map, const std::string& key) {
    const auto it = map.find(key);
    return it == map.end() ? std::nullopt : std::optional(it->second);
  }
};

std::map<std::string, Finding> Look(FakeMachine& machine, const std::string& driver = "") {
  const Subject subject = Examine(machine, kSocket, driver);
  std::map<std::string, Finding> findings;
  for (const Check& check : Checks()) findings.emplace(check.name, check.look(subject));
  return findings;
}

TEST(Doctor, AMachineThatHasAllIsWell) {
  FakeMachine machine;
  const auto findings = Look(machine);
  EXPECT_EQ(findings.size(), 12);
  for (const auto& [name, finding] : findings) {
    EXPECT_EQ(finding.health, Health::kOk) << name << ": " << finding.seen;
    EXPECT_FALSE(finding.seen.empty()) << name;
    EXPECT_EQ(finding.remedy, "") << name;
  }
}

struct Case {
  const char* check;
  Health health;
  const char* says;
  std::function<void(FakeMachine&)> harm;
};

const Case kCases[] = {
    {"kernel", Health::kFail, "5.10.0", [](FakeMachine& m) { m.release = "5.10.0-28-amd64"; }},
    {"kernel", Health::kWarn, "6.1.0", [](FakeMachine& m) { m.release = "6.1.0-18-amd64"; }},
    {"kernel", Health::kWarn, "'odd'", [](FakeMachine& m) { m.release = "odd"; }},
    {"io_uring", Health::kFail, "forbidden",
     [](FakeMachine& m) { m.ring = absl::PermissionDeniedError("forbidden"); }},
    {"io_uring", Health::kWarn, "kernel.io_uring_disabled is 1",
     [](FakeMachine& m) { m.files["/proc/sys/kernel/io_uring_disabled"] = "1\n"; }},
    {"memfd", Health::kFail, "no memfd", [](FakeMachine& m) { m.memfd = absl::InternalError("no memfd"); }},
    {"userfaultfd", Health::kWarn, "not permitted", [](FakeMachine& m) { m.userfault = EPERM; }},
    {"locked memory", Health::kFail, "32768 bytes (the broker's)",
     [](FakeMachine& m) {
       m.files["/proc/77/limits"] = "Max open files  1 524288 files\nMax locked memory  1024 32768 bytes\n";
     }},
    {"locked memory", Health::kWarn, "8388608 bytes",
     [](FakeMachine& m) {
       m.files["/proc/77/limits"] = "Max open files  1 524288 files\nMax locked memory  1024 8388608 bytes\n";
     }},
    {"open files", Health::kFail, "512 files",
     [](FakeMachine& m) {
       m.files["/proc/77/limits"] = "Max open files  512 512 files\nMax locked memory  1 unlimited bytes\n";
     }},
    {"open files", Health::kWarn, "4096 files",
     [](FakeMachine& m) {
       m.files["/proc/77/limits"] = "Max open files  1024 4096 files\nMax locked memory  1 unlimited bytes\n";
     }},
    {"device files", Health::kFail, "missing: /dev/nvidia-uvm",
     [](FakeMachine& m) { m.nodes.erase("/dev/nvidia-uvm"); }},
    {"device files", Health::kFail, "missing: /dev/nvidia0",
     [](FakeMachine& m) { m.nodes.erase("/dev/nvidia0"); }},
    {"device files", Health::kWarn, "/dev/nvidia0 rw-rw---- owner friends",
     [](FakeMachine& m) {
       m.nodes["/dev/nvidia0"] = Node(S_IFCHR | 0660);
       m.closed = {"/dev/nvidia0"};
     }},
    {"driver", Health::kFail, "not loaded",
     [](FakeMachine& m) { m.driver = absl::NotFoundError("not loaded"); }},
    {"driver", Health::kFail, "999.1.1", [](FakeMachine& m) { m.info.version = "999.1.1"; }},
    {"driver", Health::kWarn, "the tables of 535", [](FakeMachine& m) { m.info.version = "535.270.01"; }},
    {"libraries", Health::kFail, "libcuda.so.1 550.163.01",
     [](FakeMachine& m) {
       m.links[std::string(kLibraryFolder) + "libcuda.so.1"] = "/usr/lib/libcuda.so.550.163.01";
     }},
    {"libraries", Health::kWarn, "neither", [](FakeMachine& m) { m.links.clear(); }},
    {"libraries", Health::kWarn, "only libcuda",
     [](FakeMachine& m) { m.links.erase(std::string(kLibraryFolder) + "libnvidia-ml.so.1"); }},
    {"guests' socket", Health::kFail, "there is no /run", [](FakeMachine& m) { m.nodes.erase(kSocket); }},
    {"guests' socket", Health::kFail, "is no socket",
     [](FakeMachine& m) { m.nodes[kSocket] = Node(S_IFREG | 0660); }},
    {"guests' socket", Health::kWarn, "rw-rw---- owner friends",
     [](FakeMachine& m) { m.closed = {kSocket}; }},
};

TEST(Doctor, EachCheckFindsWhatIsWrongAndNoOtherDoes) {
  std::set<std::string> tried;
  for (const Case& one : kCases) {
    SCOPED_TRACE(std::string(one.check) + ": " + one.says);
    FakeMachine machine;
    one.harm(machine);
    for (const auto& [name, finding] : Look(machine)) {
      if (name != one.check) {
        EXPECT_EQ(finding.health, Health::kOk) << name << ": " << finding.seen;
        continue;
      }
      EXPECT_EQ(finding.health, one.health) << finding.seen;
      EXPECT_THAT(finding.seen, HasSubstr(one.says));
      EXPECT_FALSE(finding.remedy.empty());
    }
    tried.insert(one.check);
  }
  // The two others are below: without a broker there is more to say.
  EXPECT_EQ(tried.size() + 2, Checks().size());
}

TEST(Doctor, WithoutABroker) {
  FakeMachine machine;
  machine.answer = absl::UnavailableError("no gpu-broker answers");
  machine.files["/proc/self/limits"] = kLimits;
  auto findings = Look(machine);
  EXPECT_EQ(findings.at("control socket").health, Health::kFail);
  EXPECT_THAT(findings.at("control socket").seen, HasSubstr("no gpu-broker answers"));
  EXPECT_FALSE(findings.at("control socket").remedy.empty());
  EXPECT_EQ(findings.at("persistence").health, Health::kWarn);
  EXPECT_FALSE(findings.at("persistence").remedy.empty());
  EXPECT_THAT(findings.at("open files").seen, HasSubstr("(yours)"));
  EXPECT_EQ(findings.at("driver").health, Health::kOk);
  EXPECT_EQ(findings.at("libraries").health, Health::kOk);
  machine.nodes["/run/nvidia-persistenced/socket"] = Node(S_IFSOCK | 0600);
  EXPECT_EQ(Look(machine).at("persistence").health, Health::kOk);
}

TEST(Doctor, ASimulatedGpuNeedsNone) {
  for (const bool has_broker : {true, false}) {
    FakeMachine machine;
    machine.broker.set_driver("sim");
    if (!has_broker) machine.answer = absl::UnavailableError("no gpu-broker answers");
    machine.driver = absl::NotFoundError("not loaded");
    for (const char* path : {"/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia0"}) machine.nodes.erase(path);
    const auto findings = Look(machine, has_broker ? "" : "sim");
    for (const char* check : {"device files", "driver", "persistence"})
      EXPECT_EQ(findings.at(check).health, Health::kOk) << findings.at(check).seen;
    EXPECT_EQ(Look(machine, "kernel").at("driver").health, Health::kFail);
  }
}

}  // namespace
}  // namespace nvshim::broker::ctl
