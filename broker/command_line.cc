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

#include "absl/strings/str_cat.h"
#include "broker/abi_list.h"
#include "broker/cli/description.h"
#include "broker/command.h"
#include "broker/driver/kernel/discovery.h"
#include "broker/driver/kernel/kernel_driver.h"
#include "broker/driver/sim/sim_driver.h"
#include "broker/driver/table_for.h"
#include "broker/flags.h"
#include "broker/io/socket.h"
#include "broker/limits_command.h"
#include "broker/log/log.h"
#include "broker/policy_command.h"
#include "broker/sandbox/privileges.h"
#include "broker/sandbox/system_calls.h"
#include "broker/supervisor/control_client.h"
#include "broker/supervisor/supervisor.h"
#include "broker/supervisor/worker_process.h"
#include "broker/version.h"
#include "broker/worker/worker.h"
#include "proto/abi/spec.h"

namespace nvshim::broker {
namespace {

// Whose lines of the log the simulated GPU's are: a worker has one.
constexpr char kSimulator[] = "simulated GPU";

void StartLogOf(const Flags& flags, const char* role) {
  signal(SIGPIPE, SIG_IGN);  // whoever read the log may be gone before the guests are
  StartLog(role, flags.log_level, flags.log_format == "json" ? LogFormat::kJson : LogFormat::kText);
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

// gpu-broker --check-config
int CheckConfig(const Flags& flags) {
  if (auto status = CheckFlags(flags); !status.ok()) return Fail(status);
  std::puts("the configuration is right");
  return 0;
}

void TellReady(int fd) {
  if (fd < 0) return;
  if (write(fd, "ready\n", 6) != 6) Log(Severity::kWarning, "--ready-fd cannot be written", {{"fd", fd}});
  close(fd);
}

// ---- gpu-broker ----

// `flags` are what `reader` has read, also from `config_files`.
int Supervise(const Flags& flags, std::vector<std::string> config_files, const FlagsReader& reader,
              MakeKernel make_kernel) {
  StartLogOf(flags, "gpu-broker");
  auto service_manager = ServiceManager::FromEnvironment();
  if (!service_manager.ok()) return Fail(service_manager.status());
  auto inherited_sockets = service_manager->TakeSockets();
  if (!inherited_sockets.ok()) return Fail(inherited_sockets.status());
  if (flags.ready_fd >= 0) fcntl(flags.ready_fd, F_SETFD, FD_CLOEXEC);
  auto backend = PrepareBackend(flags, make_kernel);
  if (!backend.ok()) return Fail(backend.status());
  auto settings = LiveSettingsOf(flags, backend->driver_version);
  if (!settings.ok()) return Fail(settings.status());
  settings->config_files = std::move(config_files);
  auto named_sockets = NamedSockets(flags);
  if (!named_sockets.ok()) return Fail(named_sockets.status());
  auto worker_uids = WorkerUidRange(flags);
  if (!worker_uids.ok()) return Fail(worker_uids.status());
  SupervisorOptions options;
  options.socket = flags.socket;
  options.named_sockets = *std::move(named_sockets);
  options.inherited_sockets = *std::move(inherited_sockets);
  options.settings = *std::move(settings);
  options.reload = [&] { return reader.Read(backend->driver_version); };
  options.control_socket = ControlSocketOf(flags.socket);
  options.worker_folder = flags.socket + ".workers";
  options.state_file = flags.socket + ".state";
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
                              absl::StrCat("--guest-linger-ms=", flags.guest_linger_ms)};
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
  AddSupervisorFlags(app, flags);

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
  auto config_files = CompleteFlags(app, flags);
  if (!config_files.ok()) return Fail(config_files.status());
  if (flags.check_config) return CheckConfig(flags);
  return Supervise(flags, *std::move(config_files), FlagsReader(app, argc, argv), make_kernel);
}

}  // namespace nvshim::broker
