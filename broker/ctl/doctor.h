// What `gpu-brokerctl doctor` looks at: whether this machine has what the broker and its guests need. A table
// of checks over an interface to the machine, so that tests can put any machine in its place. The checks
// change nothing and let nobody in. One thread.
#ifndef BROKER_CTL_DOCTOR_H_
#define BROKER_CTL_DOCTOR_H_

#include <sys/stat.h>

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "broker/driver/driver.h"
#include "proto/control.pb.h"

namespace nvshim::broker::ctl {

class Machine {
 public:
  virtual ~Machine() = default;

  virtual std::string KernelRelease() = 0;  // "6.1.0-18-amd64"
  // Whether the broker could have a ring, the shim a userfaultfd (errno, 0 = yes) and both a sealed memfd.
  virtual absl::Status TryRing() = 0;
  virtual int TryUserfault() = 0;
  virtual absl::Status TryMemfd() = 0;

  // What a file says, the names in a folder, a path without symbolic links. Nothing, or none, when it cannot
  // be told.
  virtual std::optional<std::string> Read(const std::string& path) = 0;
  virtual std::vector<std::string> List(const std::string& folder) = 0;
  virtual std::optional<std::string> RealPath(const std::string& path) = 0;
  virtual std::optional<struct stat> Stat(const std::string& path) = 0;
  // Whether the caller may read and write it.
  virtual bool MayUse(const std::string& path) = 0;
  virtual std::string UserName(uid_t uid) = 0;
  virtual std::string GroupName(gid_t gid) = 0;

  // As kernel::Discover and AskStatistics.
  virtual absl::StatusOr<DriverInfo> Driver() = 0;
  virtual absl::StatusOr<BrokerStatistics> AskBroker() = 0;
};

enum class Health { kOk, kWarn, kFail };

struct Finding {
  Health health;
  std::string seen;
  std::string remedy;  // empty when all is well
};

// What the checks are about, asked once.
struct Subject {
  Machine& machine;
  std::string socket;  // the guests'
  absl::StatusOr<BrokerStatistics> broker;
  bool needs_gpu;                     // not where the broker simulates one
  absl::StatusOr<DriverInfo> driver;  // of this machine, when it needs one
};

// `driver` is "sim", "kernel", or empty: as the broker that runs, and kernel when none does.
Subject Examine(Machine& machine, const std::string& socket, const std::string& driver);

struct Check {
  std::string_view name;
  Finding (*look)(const Subject&);
};

// In the order in which they are told.
std::span<const Check> Checks();

}  // namespace nvshim::broker::ctl

#endif  // BROKER_CTL_DOCTOR_H_
