// gpu-broker: the command line. Without a subcommand it supervises; `abi`, `limits` and `policy` print what
// is built in; `worker` is how the supervisor starts its workers. Each is a list of steps, in order.
#include "broker/command_line.h"

#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "broker/abi_list.h"
#include "broker/cli/description.h"
#include "broker/command.h"
#include "broker/default_socket.h"
#include "broker/driver/kernel/discovery.h"
#include "broker/driver/kernel/kernel_driver.h"
#include "broker/driver/sim/sim_driver.h"
#include "broker/driver/table_for.h"
#include "broker/io/socket.h"
#include "broker/limits_command.h"
#include "broker/log/log.h"
#include "broker/policy/policy.h"
#include "broker/policy_command.h"
#include "broker/sandbox/privileges.h"
#include "broker/sandbox/system_calls.h"
#include "broker/settings.h"
#include "broker/supervisor/control_client.h"
#include "broker/supervisor/supervisor.h"
#include "broker/supervisor/worker_process.h"
#include "broker/supervisor/worker_uids.h"
#include "broker/version.h"
#include "broker/worker/worker.h"
#include "proto/abi/spec.h"

namespace nvshim::broker {
namespace {

constexpr char kDefaultConfig[] = "/etc/gpu-broker/config.toml";
// Whose lines of the log the simulated GPU's are: a worker has one.
constexpr char kSimulator[] = "simulated GPU";

// ToBytes behind the = of NAME=SIZE.
std::string NamedToBytes(std::string& named_size) {
  const size_t equals = named_size.find('=');
  if (equals == std::string::npos) return "NAME=SIZE is wanted";
  std::string size = named_size.substr(equals + 1);
  const std::string complaint = ToBytes(size);
  named_size.replace(equals + 1, std::string::npos, size);
  return complaint;
}

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

void StartLogOf(const Flags& flags, const char* role) {
  signal(SIGPIPE, SIG_IGN);  // whoever read the log may be gone before the guests are
  StartLog(role, flags.log_level, flags.log_format == "json" ? LogFormat::kJson : LogFormat::kText);
}

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

absl::StatusOr<std::unique_ptr<SimDriver>> MakeSimDriver(const Flags& flags) {
  SimOptions options;
  options.gpu = flags.sim_gpu;
  options.driver_version = flags.sim_driver_version;
  options.skip_kernels = flags.sim_kernels == "skip";
  options.log = [](std::string_view what) {
    LogOfGuest(kSimulator, Severity::kInfo, "the simulated driver does not know a call", {{"call", what}});
  };
  options.log_fault = [](std::string_view what) {
    LogOfGuest(kSimulator, Severity::kWarning, "simulated GPU", {{"what", what}});
  };
  return CreateSimDriver(options);
}

// Guests and workers use the table that TableFor gives.
absl::Status CheckVersion(const std::string& version) {
  const auto choice = TableFor(version);
  if (!choice.ok()) return choice.status();
  if (!choice->exact)
    Log(Severity::kWarning,
        "no tables for this NVIDIA driver: those of the one before are used. What is new in it is refused",
        {{"driver", version}, {"tables", choice->table->driver_version}});
  return absl::OkStatus();
}

// What stands behind the workers while the broker runs.
struct Backend {
  std::string driver_version;
  std::vector<GpuInfo> gpus;
  std::unique_ptr<kernel::Kernel> kernel;
  std::optional<kernel::WarmGpus> warm_gpus;  // kept initialised
};

absl::StatusOr<Backend> PrepareBackend(const Flags& flags, MakeKernel make_kernel) {
  Backend backend;
  if (flags.driver == "sim") {
    // Made here for its complaints and its version, then by each worker for itself.
    auto driver = MakeSimDriver(flags);
    if (!driver.ok()) return driver.status();
    backend.driver_version = (*driver)->info().version;
    backend.gpus = (*driver)->info().gpus;
    if (auto status = CheckVersion(backend.driver_version); !status.ok()) return status;
    return backend;
  }
  if (flags.guests_per_worker != 1)
    return absl::InvalidArgumentError(
        "--guests-per-worker: with --driver=kernel each guest has a worker of its own. RM lets all clients "
        "of one "
        "process share their objects");
  backend.kernel = make_kernel();
  auto info = kernel::Discover(*backend.kernel);
  if (!info.ok()) return info.status();
  if (auto status = CheckVersion(info->version); !status.ok()) return status;
  auto warm_gpus = kernel::WarmGpus::Open(*backend.kernel, *info,
                                          [](std::string_view line) { Log(Severity::kInfo, line); });
  if (!warm_gpus.ok()) return warm_gpus.status();
  backend.warm_gpus.emplace(*std::move(warm_gpus));
  backend.driver_version = info->version;
  backend.gpus = info->gpus;
  return backend;
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

absl::StatusOr<std::optional<UidRange>> WorkerUidRange(const Flags& flags) {
  if (flags.worker_uid_range.empty()) return std::nullopt;
  auto range = ParseUidRange(flags.worker_uid_range);
  const absl::Status status = range.ok() ? CheckMayRunOtherUsers() : range.status();
  if (!status.ok())
    return absl::Status(status.code(), absl::StrCat("--worker-uid-range: ", status.message()));
  return *range;
}

// What the command line, the environment and the configuration files say together, and what can be said of it
// before the driver is looked at.
absl::Status CompleteFlags(CLI::App& app, const Flags& flags) {
  std::vector<Setting> files;
  if (!flags.no_config) {
    auto read = ReadConfigFiles(flags.config.empty() ? kDefaultConfig : flags.config, flags.config.empty());
    if (!read.ok()) return read.status();
    files = *std::move(read);
  }
  return ApplySettings(app, files, [](const char* name) -> const char* { return getenv(name); });
}

// gpu-broker --check-config
int CheckConfig(const Flags& flags) {
  auto named_sockets = ByName(flags.guest_sockets, "--guest-socket", "PATH");
  if (!named_sockets.ok()) return Fail(named_sockets.status());
  if (auto quotas = NamedQuotas(flags, *named_sockets); !quotas.ok()) return Fail(quotas.status());
  if (auto uids = WorkerUidRange(flags); !uids.ok()) return Fail(uids.status());
  if (auto policy = Policy::Load(flags.policy); !policy.ok()) return Fail(policy.status());
  std::puts("the configuration is right");
  return 0;
}

void TellReady(int fd) {
  if (fd < 0) return;
  if (write(fd, "ready\n", 6) != 6) Log(Severity::kWarning, "--ready-fd cannot be written", {{"fd", fd}});
  close(fd);
}

// What the policy comes to for a driver of this version, which has a table.
absl::StatusOr<std::string> VerdictsFor(const std::string& driver_version, const PolicyOptions& options) {
  auto policy = Policy::Load(options);
  if (!policy.ok()) return policy.status();
  const abi::Table& table = *abi::ChooseTable(driver_version).table;
  if (options.shadow)
    Log(Severity::kWarning, "--policy-shadow: what the policy denies is passed on, and counted");
  return policy->VerdictsOf(table).Encode(table);
}

// ---- gpu-broker ----

int Supervise(const Flags& flags, MakeKernel make_kernel) {
  StartLogOf(flags, "gpu-broker");
  auto service_manager = ServiceManager::FromEnvironment();
  if (!service_manager.ok()) return Fail(service_manager.status());
  auto inherited_sockets = service_manager->TakeSockets();
  if (!inherited_sockets.ok()) return Fail(inherited_sockets.status());
  if (flags.ready_fd >= 0) fcntl(flags.ready_fd, F_SETFD, FD_CLOEXEC);
  auto backend = PrepareBackend(flags, make_kernel);
  if (!backend.ok()) return Fail(backend.status());
  auto verdicts = VerdictsFor(backend->driver_version, flags.policy);
  if (!verdicts.ok()) return Fail(verdicts.status());
  auto named_sockets = ByName(flags.guest_sockets, "--guest-socket", "PATH");
  if (!named_sockets.ok()) return Fail(named_sockets.status());
  auto named_quotas = NamedQuotas(flags, *named_sockets);
  if (!named_quotas.ok()) return Fail(named_quotas.status());
  auto worker_uids = WorkerUidRange(flags);
  if (!worker_uids.ok()) return Fail(worker_uids.status());
  SupervisorOptions options;
  options.socket = flags.socket;
  options.named_sockets = *std::move(named_sockets);
  options.inherited_sockets = *std::move(inherited_sockets);
  options.guest_limits = GuestLimits(flags.limits);
  options.uid_limits = UidLimits(flags.limits);
  options.named_memory_quotas_bytes = *std::move(named_quotas);
  options.control_socket = ControlSocketOf(flags.socket);
  options.worker_folder = flags.socket + ".workers";
  options.guests_per_worker = flags.guests_per_worker;
  options.guest_linger = std::chrono::milliseconds(flags.guest_linger_ms);
  options.drain = std::chrono::milliseconds(flags.drain_ms);
  options.worker_arguments = {"worker",
                              "--driver=" + flags.driver,
                              "--sim-gpu=" + flags.sim_gpu,
                              "--sim-driver-version=" + flags.sim_driver_version,
                              "--sim-kernels=" + flags.sim_kernels,
                              "--log-level=" + flags.log_level,
                              "--log-format=" + flags.log_format,
                              absl::StrCat("--guest-linger-ms=", flags.guest_linger_ms),
                              "--verdicts=" + *verdicts};
  options.worker_uids = *worker_uids;
  options.driver = flags.driver;
  options.driver_version = backend->driver_version;
  options.gpus = backend->gpus;
  if (backend->warm_gpus) service_manager->Keep(backend->warm_gpus->fds());
  options.service_manager = *std::move(service_manager);
  auto supervisor = Supervisor::Create(std::move(options));
  if (!supervisor.ok()) return Fail(supervisor.status());
  Log(Severity::kInfo, "serving",
      {{"driver", flags.driver}, {"version", backend->driver_version}, {"socket", flags.socket}});
  TellReady(flags.ready_fd);
  const absl::Status status = (*supervisor)->Run();
  return status.ok() ? 0 : Fail(status);
}

// ---- gpu-broker worker ----

void AddSimStatistics(const SimDriver& sim, WorkerStatistics* statistics) {
  const sim::UnknownCounts unknown = sim.unknown_counts();
  auto& counts = *statistics->mutable_unknown_calls();
  counts["controls"] = unknown.controls;
  counts["classes"] = unknown.classes;
  counts["escapes"] = unknown.escapes;
  counts["uvm"] = unknown.uvm;
  statistics->set_skipped_kernels(sim.skipped_kernels());
}

// The driver, and what it adds to the statistics.
absl::Status MakeWorkerDriver(const Flags& flags, kernel::Kernel* kernel, WorkerOptions* options) {
  if (kernel != nullptr) {
    auto driver = kernel::CreateKernelDriver(*kernel);
    if (driver.ok()) options->driver = *std::move(driver);
    return driver.status();
  }
  auto driver = MakeSimDriver(flags);
  if (!driver.ok()) return driver.status();
  options->add_driver_statistics = [sim = driver->get()](WorkerStatistics* statistics) {
    AddSimStatistics(*sim, statistics);
  };
  options->driver = *std::move(driver);
  return absl::OkStatus();
}

int Work(const Flags& flags, MakeKernel make_kernel) {
  // One arena for the few threads of a worker: an arena of its own each would map 64 MiB and keep what it
  // once had, depending on which thread happened to serve what.
  mallopt(M_ARENA_MAX, 1);
  StartLogOf(flags, "gpu-broker-worker");
  if (auto status = DropPrivileges(flags.uid); !status.ok()) return Fail(status);
  WorkerOptions options;
  options.listener = Fd(kWorkerListenerFd);
  if (auto status = ListenHere(kWorkerListenerFd); !status.ok()) return Fail(status);
  const std::unique_ptr<kernel::Kernel> kernel = flags.driver == "kernel" ? make_kernel() : nullptr;
  options.guest_linger = std::chrono::milliseconds(flags.guest_linger_ms);
  options.verdicts = flags.verdicts;
  if (auto status = MakeWorkerDriver(flags, kernel.get(), &options); !status.ok()) return Fail(status);
  auto worker = Worker::Create(std::move(options));
  if (!worker.ok()) return Fail(worker.status());
  if (auto status = ConfineSystemCalls(); !status.ok()) return Fail(status);
  (*worker)->Run();
  return 0;
}

}  // namespace

int RunCommandLine(int argc, char** argv, MakeKernel make_kernel) {
  Flags flags;
  CLI::App app("Shares one NVIDIA GPU among many guests. Guests run with LD_PRELOAD=libnvshim.so.",
               "gpu-broker");
  app.set_version_flag("--version", kVersion);
  AddDescribeFlag(app);
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

  AskedCommand asked;
  AddAbiCommand(app, &asked);
  AddLimitsCommand(app, &asked);
  AddPolicyCommand(app, &asked);

  CLI::App* worker =
      app.add_subcommand("worker", "Serve guests for a supervisor (started by gpu-broker itself)");
  worker->group("");
  AddDriverFlags(*worker, flags);
  worker->add_option("--uid", flags.uid, "User id that the worker takes");
  worker->add_option("--guest-linger-ms", flags.guest_linger_ms,
                     "How long it stays without guests and supervisor");
  worker->add_option("--verdicts", flags.verdicts, "What guests get of each call, a letter for each");
  CLI11_PARSE(app, argc, argv);

  if (asked.run) return asked.run();
  if (*worker) return Work(flags, make_kernel);
  if (auto status = CompleteFlags(app, flags); !status.ok()) return Fail(status);
  return flags.check_config ? CheckConfig(flags) : Supervise(flags, make_kernel);
}

}  // namespace nvshim::broker
