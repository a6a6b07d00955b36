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
#include "broker/supervisor/guest_table.h"
#include "broker/supervisor/service_manager.h"
#include "broker/supervisor/uid_sheets.h"
#include "broker/supervisor/workers.h"
#include "proto/control.pb.h"

namespace nvshim::broker {

struct SupervisorOptions {
  std::string socket;                                // guests by uid and cgroup
  std::map<std::string, std::string> named_sockets;  // guest name -> socket path
  std::vector<InheritedSocket> inherited_sockets;    // instead of those above that are for the same guests
  std::string control_socket;
  std::string worker_folder;                                  // of the workers' sockets
  Limits guest_limits = DefaultLimits();                      // of each guest
  std::map<std::string, uint64_t> named_memory_quotas_bytes;  // of video memory, by guest name, instead
  Limits uid_limits = NoLimits();                             // of all guests of a user together
  uint32_t guests_per_worker = 1;
  std::chrono::milliseconds guest_linger{10'000};  // an empty guest's worker is kept that long
  std::chrono::milliseconds drain{5'000};          // guests have that long to leave after SIGTERM
  std::vector<std::string> worker_arguments;
  std::optional<UidRange> worker_uids;  // each worker runs under a user id of its own out of these
  std::string driver;                   // for statistics
  std::string driver_version;           // for statistics
  std::vector<GpuInfo> gpus;            // for statistics
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
  absl::Status Run();

 private:
  struct Listener {
    Fd socket;
    std::string path;   // empty: made by somebody else
    std::string guest;  // name of the guest; empty: by the peer
  };
  struct WorkerRecord {
    uint32_t guests = 0;
    bool takes_guests = false;  // started by this supervisor, and so with its options
    bool statistics_due = false;
    WorkerStatistics statistics;
  };

  Supervisor(SupervisorOptions options, std::unique_ptr<Loop> loop);
  absl::Status Bind();
  absl::Status CatchSignals();
  void StartAccepting();
  void FeedWatchdog();
  void TellStatus();
  void Complete(const Completion& completion);
  void OnSignal();
  void StartDraining();
  bool IsDone() const;
  void OnListener(uint32_t index);
  Limits LimitsOf(const std::string& guest_name) const;
  void Admit(Fd connection, const std::string& name, uid_t uid);
  std::optional<UidSheets::Lease> TakeRow(uid_t uid, AttachProcess* attach);
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
  void AskForStatistics();
  void AnswerIfComplete();
  BrokerStatistics Sum() const;

  SupervisorOptions options_;
  std::unique_ptr<Loop> loop_;
  std::vector<Listener> listeners_;
  Fd signals_;
  Workers workers_;
  ControlServer control_;
  GuestTable guests_;
  std::map<uint32_t, WorkerRecord> records_;  // by worker
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
};

}  // namespace nvshim::broker

#endif  // BROKER_SUPERVISOR_SUPERVISOR_H_
