// The process that accepts guests: listens, asks the kernel who connects, starts the guest's worker when
// there is none, and passes the connection on. It reads nothing that a guest writes. It also answers the
// control socket. One thread.
//
// Workers and guests go on without it. One that starts where another died finds the workers, hears whom they
// serve, and then accepts.
#ifndef BROKER_SUPERVISOR_SUPERVISOR_H_
#define BROKER_SUPERVISOR_SUPERVISOR_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "broker/core/resource.h"
#include "broker/driver/driver.h"
#include "broker/io/fd.h"
#include "broker/io/loop.h"
#include "broker/supervisor/control_server.h"
#include "broker/supervisor/guest_sockets.h"
#include "broker/supervisor/guest_table.h"
#include "broker/supervisor/run_time_guests.h"
#include "broker/supervisor/service_manager.h"
#include "broker/supervisor/statistics_book.h"
#include "broker/supervisor/uid_sheets.h"
#include "broker/supervisor/workers.h"
#include "proto/control.pb.h"

namespace nvshim::broker {

// What may change while guests run.
struct LiveSettings {
  Limits guest_limits = DefaultLimits();                      // of each guest
  std::map<std::string, uint64_t> named_memory_quotas_bytes;  // of video memory, by guest name, instead
  Limits uid_limits = NoLimits();                             // of all guests of a user together
  std::string verdicts;                                       // the policy: Verdicts::Encode
  std::vector<std::string> config_files;                      // that were read
};

// What reading the settings again has come to.
struct Reloaded {
  LiveSettings settings;
  std::vector<std::string> from_next_start;  // names of settings that have changed as well
};

struct SupervisorOptions {
  std::string socket;                                // guests by uid and cgroup
  std::map<std::string, std::string> named_sockets;  // guest name -> socket path
  InheritedSockets inherited_sockets;                // instead of those of the same purpose
  std::string control_socket;
  std::string worker_folder;  // of the workers' sockets
  std::string state_file;     // what operators have said at run time
  LiveSettings settings;
  std::function<absl::StatusOr<Reloaded>()> reload;
  uint32_t guests_per_worker = 1;
  std::chrono::milliseconds guest_linger{10'000};  // an empty guest's worker is kept that long
  std::chrono::milliseconds drain{5'000};          // guests have that long to leave after SIGTERM
  std::vector<std::string> worker_arguments;       // beside the policy
  std::optional<UidRange> worker_uids;             // each worker runs under a user id of its own out of these
  std::string driver;
  std::string driver_version;
  std::vector<GpuInfo> gpus;
  ServiceManager service_manager;
};

class Supervisor {
 public:
  // Binds the sockets and takes over the workers of an earlier supervisor. Afterwards guests can connect and
  // wait.
  static absl::StatusOr<std::unique_ptr<Supervisor>> Create(SupervisorOptions options);
  ~Supervisor();

  // Serves until a signal ends it. SIGINT ends the workers as well; SIGTERM the same, once all guests have
  // left or their time is up, or when it comes again; SIGUSR1 leaves the workers to the next supervisor.
  // SIGHUP reads the settings again.
  absl::Status Run();

 private:
  // Kinds of the loop's tags.
  enum TagKind : uint8_t {
    kGuestSocketTag,
    kControlListenerTag,
    kControlTag,
    kSignalTag,
    kWorkerTag,
    kEndingWorkerTag,
    kTimerTag,
    kDrainTag,
    kAnswerTag,
    kWatchdogTag
  };

  struct WorkerRecord {
    uint32_t guests = 0;
    bool takes_guests = false;  // started by this supervisor, and so with its options
  };
  // A client of the control socket that is answered when all workers have said that they live: what they were
  // told before, they have done by then.
  struct Waiting {
    uint32_t client;
    ControlReply reply;
    bool wants_statistics;
    StatisticsBook::Questions questions;
    std::chrono::steady_clock::time_point until;
  };

  Supervisor(SupervisorOptions options, std::unique_ptr<Loop> loop);
  absl::Status Bind();
  absl::Status CatchSignals();
  void StartAccepting();
  void FeedWatchdog();
  void TellStatus();
  void Complete(const Completion& completion);
  void OnSignal();
  void StartDraining(std::chrono::milliseconds most);
  bool IsDone() const;
  Limits LimitsOf(const std::string& guest_name) const;
  void Admit(Fd connection, const std::string& name, uid_t uid);
  std::optional<UidSheets::Lease> TakeRow(uid_t uid, AttachProcess* attach);
  void PutRow(const UidSheets::Lease& row, AttachProcess* attach) const;
  std::optional<GuestTable::Key> FindOrMake(const std::string& name);
  std::optional<uint32_t> WorkerWithRoom(const std::string& guest_name);
  void OnWorkerMessage(uint32_t worker, const FromWorker& message);
  void OnWorkerGone(uint32_t worker, pid_t pid);
  void Adopt(uint32_t worker, const WorkerHello& hello);
  void Join(GuestTable::Key guest, uid_t uid);
  void KeepRows(uint32_t worker);
  void EndWorker(uint32_t worker);
  void RetireGuests();
  void Retire(GuestTable::Key guest);

  // supervisor_control.cc
  void BindAddedSockets();
  void OnRequest(uint32_t client, const ControlRequest& request);
  absl::StatusOr<ControlReply> Do(const ControlRequest& request);
  absl::StatusOr<ControlReply> Do(const DrainRequest& request);
  absl::StatusOr<ControlReply> Do(const AddGuestRequest& request);
  absl::StatusOr<ControlReply> Do(const LimitGuestRequest& request);
  absl::StatusOr<ControlReply> Do(const KillGuestRequest& request);
  absl::StatusOr<ControlReply> Do(const RemoveGuestRequest& request);
  absl::StatusOr<std::string> NameOf(const std::string& name_or_number) const;
  absl::StatusOr<std::vector<std::string>> Reload();
  std::vector<std::string> WorkerArguments() const;
  void ApplyLimits(GuestTable::Key guest);
  void ApplyUidLimits();
  void ApplyPolicy();
  void Kill(GuestTable::Key guest);
  BrokerInfo Info() const;
  void AnswerLater(uint32_t client, ControlReply reply, bool wants_statistics);
  void AnswerThoseWhoCanBe();
  BrokerStatistics Statistics() const;

  SupervisorOptions options_;
  std::unique_ptr<Loop> loop_;
  GuestSockets sockets_;
  Fd signals_;
  Workers workers_;
  ControlServer control_;
  RunTimeGuests run_time_guests_;
  GuestTable guests_;
  std::map<uint32_t, WorkerRecord> records_;  // by worker
  StatisticsBook statistics_;
  std::vector<Waiting> waiting_;
  bool answer_timer_armed_ = false;
  __kernel_timespec answer_timer_{};
  UidSheets uid_sheets_;
  std::map<GuestTable::Key, std::map<uid_t, UidSheets::Lease>> rows_;  // of the uids that its processes have
  std::map<uint32_t, std::vector<UidSheets::Lease>> lost_rows_;        // of workers that are about to be gone
  __kernel_timespec watchdog_timer_{};
  std::optional<size_t> guests_told_;  // to the service manager
  bool timer_armed_ = false;
  __kernel_timespec timer_{};
  bool running_ = true;
  bool draining_ = false;  // takes no new guests, and ends with the last one
  __kernel_timespec drain_timer_{};
  bool leave_workers_ = false;
  int64_t started_unix_s_;
  int64_t settings_read_unix_s_;
};

}  // namespace nvshim::broker

#endif  // BROKER_SUPERVISOR_SUPERVISOR_H_
