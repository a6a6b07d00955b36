// The process that accepts guests: listens, asks the kernel who connects, starts the guest's worker when
// there is none, and passes the connection on. It reads nothing that a guest writes. It also answers the
// control socket. One thread.
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
#include "broker/io/fd.h"
#include "broker/io/loop.h"
#include "broker/supervisor/uid_sheets.h"
#include "broker/supervisor/worker_process.h"
#include "broker/supervisor/worker_uids.h"
#include "proto/control.pb.h"

namespace nvshim::broker {

struct SupervisorOptions {
  std::string socket;                                // guests by uid and cgroup
  std::map<std::string, std::string> named_sockets;  // guest name -> socket path
  std::string control_socket;
  Limits guest_limits = DefaultLimits();                      // of each guest
  std::map<std::string, uint64_t> named_memory_quotas_bytes;  // of video memory, by guest name, instead
  Limits uid_limits = NoLimits();                             // of all guests of a user together
  uint32_t guests_per_worker = 1;
  std::chrono::milliseconds guest_linger{10'000};  // an empty guest's worker is kept that long
  std::vector<std::string> worker_arguments;
  std::optional<UidRange> worker_uids;  // each worker runs under a user id of its own out of these
  std::string driver;                   // for statistics
  std::string driver_version;           // for statistics
};

class Supervisor {
 public:
  // Binds the sockets. Afterwards guests can connect and wait.
  static absl::StatusOr<std::unique_ptr<Supervisor>> Create(SupervisorOptions options);
  ~Supervisor();

  // Serves until SIGTERM or SIGINT, then ends the workers and removes the sockets.
  absl::Status Run();

 private:
  using Clock = std::chrono::steady_clock;

  struct Listener {
    Fd socket;
    std::string path;
    std::string guest;  // name of the guest; empty: by the peer
  };
  struct Guest {
    uint32_t id = 0;
    uint64_t instance = 0;
    uint32_t worker = 0;
    uint64_t attached = 0;
    bool empty = false;
    Clock::time_point empty_since;
    std::map<uid_t, UidSheets::Lease> rows;  // of the uids that its processes have
  };
  struct WorkerRecord {
    WorkerProcess process;
    WorkerUids::Lease uid;
    uint32_t guests = 0;
    std::vector<UidSheets::Lease> lost_rows;  // of guests that it had when it ended
    bool statistics_due = false;
    WorkerStatistics statistics;
  };
  struct ControlClient {
    Fd socket;
    bool waits = false;  // for statistics
  };

  Supervisor(SupervisorOptions options, std::unique_ptr<Loop> loop);
  absl::Status Bind();
  absl::Status CatchSignals();
  void Complete(const Completion& completion);
  void OnListener(uint32_t index);
  void Admit(Fd connection, const std::string& name, uid_t uid);
  Guest* FindOrMake(const std::string& name);
  uint32_t WorkerWithRoom(const std::string& guest_name);
  void OnWorker(uint32_t index);
  void OnGuestEmpty(const GuestEmpty& message);
  static void KeepRows(Guest& guest, WorkerRecord& worker);
  void LoseWorker(uint32_t index);
  void EndWorker(uint32_t index);
  void OnEndingWorker(const Completion& completion);
  void RetireGuests();
  void Retire(const std::string& name);
  void OnControlListener();
  void OnControl(uint32_t index);
  void AskForStatistics();
  void AnswerIfComplete();
  Limits LimitsOf(const std::string& guest_name) const;
  BrokerStatistics Sum() const;

  SupervisorOptions options_;
  std::unique_ptr<Loop> loop_;
  std::vector<Listener> listeners_;
  Fd control_listener_;
  Fd signals_;
  std::map<std::string, Guest> guests_;          // by name
  std::map<uint32_t, std::string> guest_names_;  // by id
  UidSheets uid_sheets_;
  std::optional<WorkerUids> worker_uids_;
  std::map<uint32_t, WorkerRecord> workers_;
  std::map<uint32_t, WorkerRecord> ending_workers_;  // killed, and not gone: their user ids are in use
  std::map<uint32_t, ControlClient> control_clients_;
  uint32_t next_guest_ = 1;
  uint32_t next_worker_ = 1;
  uint32_t next_control_ = 1;
  bool timer_armed_ = false;
  __kernel_timespec timer_{};
  bool running_ = true;
};

}  // namespace nvshim::broker

#endif  // BROKER_SUPERVISOR_SUPERVISOR_H_
