// The process that serves one guest (with --guests-per-worker, several): carries events into the core and the
// core's actions out to driver, lanes and sockets. One thread. It decides nothing about requests; it drops
// guests that break the framing, and does what the core says.
//
// A turn: completions (doorbells, hang-ups, the supervisor), then the pending lanes of every polled process,
// at most one frame per lane. When nothing has come for a while the doorbells are armed and the worker sleeps
// in the ring.
#ifndef BROKER_WORKER_WORKER_H_
#define BROKER_WORKER_WORKER_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "broker/core/core.h"
#include "broker/driver/driver.h"
#include "broker/io/fd.h"
#include "broker/io/loop.h"
#include "broker/worker/blocking_calls.h"
#include "broker/worker/cpu_mover.h"
#include "broker/worker/placeholders.h"
#include "broker/worker/process_port.h"
#include "broker/worker/refusal_log.h"
#include "proto/control.pb.h"

namespace nvshim::broker {

struct WorkerOptions {
  Fd listener;    // supervisors connect here, one after the other: ToWorker in, FromWorker out
  Fd supervisor;  // instead: the only one there will be, with which the worker ends
  // A worker without guests ends by itself when it has been without a supervisor for that long.
  std::chrono::milliseconds guest_linger{0};
  std::string verdicts;  // Verdicts::Encode of the table of the driver's version
  std::unique_ptr<Driver> driver;
  // What the driver was asked and does not know, for the statistics.
  std::function<void(WorkerStatistics*)> add_driver_statistics;
};

class Worker {
 public:
  static absl::StatusOr<std::unique_ptr<Worker>> Create(WorkerOptions options);

  // Serves until it is killed, or there is nobody left: neither a supervisor nor a guest.
  void Run();

 private:
  Worker(WorkerOptions options, std::unique_ptr<Loop> loop, std::unique_ptr<BlockingCalls> blocking_calls,
         const abi::Table* table, Verdicts verdicts);

  // Kinds of the loop's tags; the index is a process id where there is one.
  enum TagKind : uint8_t {
    kListenerTag,
    kSupervisorTag,
    kChannelTag,
    kDoorbellTag,
    kPlaceholderTag,
    kSignalTag,
    kReapTag,
    kLateTag,
    kAloneTag,
    kBlockingTag
  };

  // A connection whose Hello has not come yet, or an attached process.
  struct Connection {
    GuestId guest;
    uint32_t uid;
    Fd hello;                           // until the handshake is done
    std::unique_ptr<ProcessPort> port;  // afterwards

    int channel() const { return port == nullptr ? hello.get() : port->transport->channel(); }
  };
  struct GuestRecord {
    uint64_t instance = 0;
    std::string name;
    uint64_t attached = 0;     // AttachProcess seen
    uint64_t connections = 0;  // of those, still there
    std::set<uint32_t> uids;   // that its processes have had
    RefusalLog refusals;
  };

  void Complete(const Completion& completion);
  void OnListener();
  void Serve(Fd supervisor);
  void OnSupervisor(const Completion& completion);
  bool ReadSupervisor();
  void LoseSupervisor();
  void SayHello();
  void Attach(const AttachProcess& attach, Fd connection, Fd sheet);
  void AddUid(const AttachProcess& attach, Fd sheet);
  void ChangeLimits(const SetLimits& limits);
  void ChangePolicy(const SetPolicy& policy);
  void Kill(GuestId guest);
  void NoteRates(GuestId guest);
  void AskAnew(GuestId guest);
  void OnChannel(uint32_t index);
  void Greet(uint32_t index, Connection& connection);
  bool Admit(uint32_t index, Connection& connection);
  void Drop(uint32_t index);
  void StartPolling(uint32_t index, ProcessPort& port);
  bool IsEmpty(GuestId guest, const GuestRecord& record) const;
  void ReportIfEmpty(GuestId guest);
  void ReapLater();
  void EndLater();
  void EndIfAlone();
  void ReportStatistics();

  // One look at every polled process. True when there was something.
  bool ServeLanes();
  void ServeLane(ProcessPort& port, uint32_t lane);
  // Of the lanes that have something to say, those whose turn has come by the rate of the guest and its uid.
  // The others are late: they are left alone until it has.
  uint64_t KeepRate(ProcessPort& port, uint64_t pending);
  void Sleep();
  void WakeForLate(uint32_t index, ProcessPort& port);

  void Step(Event event);
  void Do(DriverOpen action);
  void Do(DriverIoctl action);
  void Do(DriverClose action);
  void Do(ReplyOpen action);
  void Do(ReplyIoctl action);
  void Do(ClosePlaceholder action);
  void Do(SignalFile action);
  void Do(NoteRefusal action);
  void TellRefusal(const RefusalLog::Line& line);
  SentFile SendMapping(ProcessPort& port, const ReplyIoctl& action);
  void DrainPlaceholder(GuestId guest, FileId file);
  ProcessPort* PortOf(const CallToken& token);

  Fd listener_;
  std::chrono::milliseconds guest_linger_;
  Fd supervisor_;                   // none while there is no supervisor
  uint32_t supervisor_number_ = 0;  // index of its tag
  std::unique_ptr<Driver> driver_;
  std::function<void(WorkerStatistics*)> add_driver_statistics_;
  std::unique_ptr<BlockingCalls> blocking_calls_;  // after the driver that it uses
  std::unique_ptr<Loop> loop_;
  const abi::Table* table_;
  Core core_;
  Placeholders placeholders_;
  absl::flat_hash_map<GuestId, GuestRecord> guests_;
  // By process id, which is also the index of the loop's tags; never reused.
  absl::flat_hash_map<uint32_t, Connection> connections_;
  uint32_t next_connection_ = 1;
  std::vector<uint32_t> polled_;
  __kernel_timespec late_wait_{};
  std::vector<uint32_t> broken_;         // to be dropped at the end of the turn
  std::vector<Action> actions_;          // being carried out
  std::vector<DriverFileId> signalled_;  // the driver's files that have events, while they are told
  bool stepping_ = false;
  FrameCopy frame_;
  IoctlRequested request_;  // its buffers go round through the core and come back with the reply
  uint32_t cpu_ = 0;        // where this thread ran at the last look, plus one
  // The last call came from a thread on that CPU: spinning would keep it from running.
  bool guest_shares_cpu_ = false;
  MovePolicy move_policy_;
  __kernel_timespec reap_wait_{};
  bool reap_waits_ = false;
  __kernel_timespec alone_wait_{};
  bool alone_waits_ = false;
  bool running_ = true;
};

}  // namespace nvshim::broker

#endif  // BROKER_WORKER_WORKER_H_
