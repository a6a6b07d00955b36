#include "broker/flags.h"

#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "broker/log/log.h"
#include "broker/policy_command.h"
#include "broker/sandbox/privileges.h"
#include "broker/settings.h"
#include "proto/abi/spec.h"

namespace nvshim::broker {
namespace {

constexpr char kDefaultConfig[] = "/etc/gpu-broker/config.toml";

// Settings that LiveSettings are made of.
constexpr const char* kLiveSettings[] = {"limit",  "uid-limit",    "mem-quota",    "guest-mem-quota",
                                         "policy", "capabilities", "policy-shadow"};

// ToBytes behind the = of NAME=SIZE.
std::string NamedToBytes(std::string& named_size) {
  const size_t equals = named_size.find('=');
  if (equals == std::string::npos) return "NAME=SIZE is wanted";
  std::string size = named_size.substr(equals + 1);
  const std::string complaint = ToBytes(size);
  named_size.replace(equals + 1, std::string::npos, size);
  return complaint;
}

// `values` are NAME=WHAT of the flag `flag`, `what` says so in the complaint.
absl::StatusOr<std::map<std::string, std::string>> ByName(const std::vector<std::string>& values,
                                                          const char* flag, const char* what) {
  std::map<std::string, std::string> by_name;
  for (const std::string& one : values) {
    const size_t equals = one.find('=');
    if (equals == std::string::npos || equals == 0)
      return absl::InvalidArgumentError(absl::StrCat(flag, " wants NAME=", what, ", not '", one, "'"));
    by_name[one.substr(0, equals)] = one.substr(equals + 1);
  }
  return by_name;
}

absl::StatusOr<std::map<std::string, uint64_t>> NamedQuotas(
    const Flags& flags, const std::map<std::string, std::string>& sockets) {
  auto sizes = ByName(flags.guest_mem_quotas, "--guest-mem-quota", "SIZE");
  if (!sizes.ok()) return sizes.status();
  std::map<std::string, uint64_t> quotas;
  for (const auto& [name, bytes] : *sizes) {
    if (!sockets.contains(name))
      return absl::InvalidArgumentError(
          absl::StrCat("--guest-mem-quota: no --guest-socket makes a guest '", name, "'"));
    uint64_t& quota = quotas[name];
    if (!absl::SimpleAtoi(bytes, &quota))
      return absl::InvalidArgumentError(absl::StrCat("--guest-mem-quota: ", bytes, " is no size"));
    if (quota == 0) quota = kNoLimit;
  }
  return quotas;
}

}  // namespace

void AddDriverFlags(CLI::App& app, Flags& flags) {
  app.add_option("--driver", flags.driver,
                 "What answers the guests: sim (simulated GPU) or kernel (/dev/nvidia*)")
      ->check(CLI::IsMember({"sim", "kernel"}))
      ->capture_default_str();
  app.add_option("--sim-gpu", flags.sim_gpu, "Simulated GPU: a100, h100, h200 or rtx4090")
      ->capture_default_str();
  app.add_option("--sim-driver-version", flags.sim_driver_version,
                 "Driver version the simulated GPU reports; must equal that of the guests' libcuda")
      ->capture_default_str();
  app.add_option(
         "--sim-kernels", flags.sim_kernels,
         "What the simulated GPU, which runs no shader programs, does with them: fail (the channel stops "
         "and CUDA reports an error) or skip (they complete without effect)")
      ->check(CLI::IsMember({"fail", "skip"}))
      ->capture_default_str();
  app.add_option("--log-level", flags.log_level, "trace, debug, info, warn, err, critical or off")
      ->check(CLI::IsMember({"trace", "debug", "info", "warn", "err", "critical", "off"}))
      ->capture_default_str();
  app.add_option("--log-format", flags.log_format, "text, or json: an object a line, for programs")
      ->check(CLI::IsMember({"text", "json"}))
      ->capture_default_str();
}

void AddSupervisorFlags(CLI::App& app, Flags& flags) {
  AddDriverFlags(app, flags);
  app.add_option("--config", flags.config,
                 "Configuration file, read before the files PATH.d/*.toml: a line NAME = VALUE for each "
                 "option --NAME")
      ->type_name("PATH")
      ->configurable(false);
  app.add_flag("--no-config", flags.no_config, "Read no configuration files")->configurable(false);
  app.add_flag("--check-config", flags.check_config, "Say what is wrong with the configuration, and exit")
      ->configurable(false);
  app.add_option("--socket", flags.socket, "Unix socket at which guests connect")->capture_default_str();
  app.add_option("--guest-socket", flags.guest_sockets,
                 "NAME=PATH: one more socket; whoever connects there belongs to the guest NAME");
  AddLimitFlags(app, flags.limits);
  app.add_option("--guest-mem-quota", flags.guest_mem_quotas, "NAME=SIZE: the same for the guest NAME alone")
      ->transform(CLI::Validator(NamedToBytes, "NAME=SIZE"));
  app.add_option("--guests-per-worker", flags.guests_per_worker,
                 "Guests that share one worker process (above 1: simulated driver only)")
      ->check(CLI::Range(1u, 4096u))
      ->capture_default_str();
  app.add_option("--guest-linger-ms", flags.guest_linger_ms,
                 "How long the worker of a guest without processes is kept for the next one")
      ->capture_default_str();
  app.add_option("--drain-ms", flags.drain_ms, "How long guests have to leave by themselves after SIGTERM")
      ->capture_default_str();
  app.add_option(
      "--worker-uid-range", flags.worker_uid_range,
      "FIRST-LAST: give each worker a user id of its own out of these (needs CAP_SETUID, CAP_KILL)");
  app.add_option("--ready-fd", flags.ready_fd,
                 "Descriptor that gets the line 'ready' once guests can connect")
      ->configurable(false);

  AddPolicyFlags(app, flags.policy);
}

absl::StatusOr<std::vector<std::string>> CompleteFlags(CLI::App& app, const Flags& flags) {
  std::vector<std::string> files;
  std::vector<Setting> settings;
  if (!flags.no_config) {
    auto found = FindConfigFiles(flags.config.empty() ? kDefaultConfig : flags.config, flags.config.empty());
    if (!found.ok()) return found.status();
    files = *std::move(found);
    auto read = ReadConfigFiles(files);
    if (!read.ok()) return read.status();
    settings = *std::move(read);
  }
  const absl::Status status =
      ApplySettings(app, settings, [](const char* name) -> const char* { return getenv(name); });
  if (!status.ok()) return status;
  return files;
}

absl::StatusOr<std::map<std::string, std::string>> NamedSockets(const Flags& flags) {
  return ByName(flags.guest_sockets, "--guest-socket", "PATH");
}

absl::StatusOr<std::optional<UidRange>> WorkerUidRange(const Flags& flags) {
  if (flags.worker_uid_range.empty()) return std::nullopt;
  auto range = ParseUidRange(flags.worker_uid_range);
  const absl::Status status = range.ok() ? CheckMayRunOtherUsers() : range.status();
  if (!status.ok())
    return absl::Status(status.code(), absl::StrCat("--worker-uid-range: ", status.message()));
  return *range;
}

absl::StatusOr<LiveSettings> LiveSettingsOf(const Flags& flags, const std::string& driver_version) {
  auto named_sockets = NamedSockets(flags);
  if (!named_sockets.ok()) return named_sockets.status();
  auto named_quotas = NamedQuotas(flags, *named_sockets);
  if (!named_quotas.ok()) return named_quotas.status();
  auto policy = Policy::Load(flags.policy);
  if (!policy.ok()) return policy.status();
  if (flags.policy.shadow)
    Log(Severity::kWarning, "--policy-shadow: what the policy denies is passed on, and counted");
  const abi::Table& table = *abi::ChooseTable(driver_version).table;
  return LiveSettings{.guest_limits = GuestLimits(flags.limits),
                      .named_memory_quotas_bytes = *std::move(named_quotas),
                      .uid_limits = UidLimits(flags.limits),
                      .verdicts = policy->VerdictsOf(table).Encode(table),
                      .config_files = {}};
}

absl::Status CheckFlags(const Flags& flags) {
  auto named_sockets = NamedSockets(flags);
  if (!named_sockets.ok()) return named_sockets.status();
  if (auto quotas = NamedQuotas(flags, *named_sockets); !quotas.ok()) return quotas.status();
  if (auto uids = WorkerUidRange(flags); !uids.ok()) return uids.status();
  return Policy::Load(flags.policy).status();
}

FlagsReader::FlagsReader(const CLI::App& app, int argc, char** argv)
    : argc_(argc), argv_(argv), said_(SaidIn(app)) {}

FlagsReader::Said FlagsReader::SaidIn(const CLI::App& app) {
  Said said;
  for (const CLI::Option* option : app.get_options()) {
    if (!option->get_configurable() || option->get_lnames().empty()) continue;
    said[option->get_lnames()[0]] =
        option->empty() ? std::vector<std::string>{option->get_default_str()} : option->results();
  }
  return said;
}

absl::StatusOr<Reloaded> FlagsReader::Read(const std::string& driver_version) const {
  Flags flags;
  CLI::App app;
  AddSupervisorFlags(app, flags);
  try {  // which is how CLI11 refuses a command line: this one it has taken before
    app.parse(argc_, argv_);
  } catch (const CLI::Error& error) {
    return absl::InternalError(error.what());
  }
  auto files = CompleteFlags(app, flags);
  if (!files.ok()) return files.status();
  if (auto status = CheckFlags(flags); !status.ok()) return status;
  auto settings = LiveSettingsOf(flags, driver_version);
  if (!settings.ok()) return settings.status();
  Reloaded reloaded{*std::move(settings), {}};
  reloaded.settings.config_files = *std::move(files);
  for (const auto& [name, values] : SaidIn(app)) {
    const bool is_live =
        std::find(std::begin(kLiveSettings), std::end(kLiveSettings), name) != std::end(kLiveSettings);
    if (!is_live && values != said_.at(name)) reloaded.from_next_start.push_back(name);
  }
  return reloaded;
}

}  // namespace nvshim::broker
