// The flags of gpu-broker, and what they come to together with the environment and the configuration files.
// The same code reads them at the start and when a running broker is told to read them again.
#ifndef BROKER_FLAGS_H_
#define BROKER_FLAGS_H_

#include <sys/types.h>

#include <CLI/CLI.hpp>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "broker/default_socket.h"
#include "broker/limits_command.h"
#include "broker/policy/policy.h"
#include "broker/supervisor/supervisor.h"
#include "broker/supervisor/worker_uids.h"

namespace nvshim::broker {

struct Flags {
  std::string config;  // empty: the default, if it is there
  bool no_config = false;
  bool check_config = false;
  std::string driver = "sim";
  std::string socket = kDefaultSocket;
  std::vector<std::string> guest_sockets;  // NAME=PATH
  LimitOptions limits;
  std::vector<std::string> guest_mem_quotas;  // NAME=SIZE
  std::string sim_gpu = "a100";
  std::string sim_driver_version = "535.261.03";
  std::string sim_kernels = "fail";
  uint32_t guests_per_worker = 1;
  uint32_t guest_linger_ms = 10'000;
  uint32_t drain_ms = 5'000;
  std::string worker_uid_range;  // FIRST-LAST, or empty: the broker's own
  std::optional<uid_t> uid;      // of a worker
  PolicyOptions policy;
  std::string verdicts;  // of a worker: what the policy comes to (Verdicts::Encode)
  std::string log_level = "info";
  std::string log_format = "text";
  int ready_fd = -1;
};

// Those that a worker has as well.
void AddDriverFlags(CLI::App& app, Flags& flags);
// All that say how to supervise.
void AddSupervisorFlags(CLI::App& app, Flags& flags);

// What was said where the command line says nothing: by the environment, then by the configuration files. The
// names of the files that were read.
absl::StatusOr<std::vector<std::string>> CompleteFlags(CLI::App& app, const Flags& flags);

absl::StatusOr<std::map<std::string, std::string>> NamedSockets(const Flags& flags);
absl::StatusOr<std::optional<UidRange>> WorkerUidRange(const Flags& flags);

// What may change in a running broker whose driver is of this version, which has a table.
absl::StatusOr<LiveSettings> LiveSettingsOf(const Flags& flags, const std::string& driver_version);

// What is wrong with the flags, as far as can be said without a look at the driver.
absl::Status CheckFlags(const Flags& flags);

// Reads the flags of a command line again, for the broker that was started with them.
class FlagsReader {
 public:
  // `app` has read them the first time, and was completed. `argv` must outlive this.
  FlagsReader(const CLI::App& app, int argc, char** argv);

  // `driver_version` as for LiveSettingsOf. The error says where the mistake is.
  absl::StatusOr<Reloaded> Read(const std::string& driver_version) const;

 private:
  using Said = std::map<std::string, std::vector<std::string>>;  // values by the name of the setting

  static Said SaidIn(const CLI::App& app);

  const int argc_;
  char** const argv_;
  const Said said_;
};

}  // namespace nvshim::broker

#endif  // BROKER_FLAGS_H_
