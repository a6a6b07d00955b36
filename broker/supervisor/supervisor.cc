#include "broker/supervisor/supervisor.h"

#include <poll.h>
#include <signal.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/signalfd.h>

#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "broker/io/limits_message.h"
#include "broker/io/socket.h"
#include "broker/log/log.h"
#include "broker/supervisor/guest_identity.h"
#include "broker/version.h"

namespace nvshim::broker {
namespace {

using Clock = std::chrono::steady_clock;

enum TagKind : uint8_t {
  kListenerTag,
  kControlListenerTag,
  kControlTag,
  kSignalTag,
  kWorkerTag,
  kEndingWorkerTag,
  kTimerTag,
  kDrainTag,
  kWatchdogTag
};

// Guests connect from any uid; who they are decides the kernel, what they get the worker.
constexpr mode_t kGuestSocketMode = 0666;

// Bounds the supervisor's tables and the worker processes it starts: a user who can make control groups can
// be many guests.
constexpr size_t kGuestsMax = 4096;

// The kernel releases what ended workers held; a driver of hardware may take seconds for each.
constexpr std::chrono::seconds kReleaseTime(60);

// Connections taken per turn before anything else is looked at.
constexpr int kAcceptsPerTurnMax = 64;

uint64_t RandomInstance() {
  uint64_t instance = 0;
  while (getrandom(&instance, sizeof(instance), 0) != sizeof(instance)) {
  }
  return instance;
}

void PutGpu(const GpuInfo& gpu, GpuStatistics* statistics) {
  statistics->set_minor(gpu.minor);
  statistics->set_bus_id(gpu.bus_id);
  statistics->set_name(gpu.name);
  statistics->set_uuid(gpu.uuid);
  statistics->set_memory_bytes(gpu.memory_bytes);
  statistics->set_memory_reserved_bytes(gpu.memory_reserved_bytes);
}

void RaiseFileLimit() {
  rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Supervisor>> Supervisor::Create(SupervisorOptions options) {
  auto loop = Loop::Create();
  if (!loop.ok()) return loop.status();
  std::unique_ptr<Supervisor> supervisor(new Supervisor(std::move(options), *std::move(loop)));
  RaiseFileLimit();
  if (auto status = supervisor->CatchSignals(); !status.ok()) return status;
  // First: who holds the sockets is the only supervisor.
  if (auto status = supervisor->Bind(); !status.ok()) return status;
  if (auto status = supervisor->workers_.TakeOver(); !status.ok()) return status;
  supervisor->StartAccepting();
  return supervisor;
}

Supervisor::Supervisor(SupervisorOptions options, std::unique_ptr<Loop> loop)
    : options_(std::move(options)),
      loop_(std::move(loop)),
      workers_({.folder = options_.worker_folder,
                .arguments = options_.worker_arguments,
                .uids = options_.worker_uids,
                .message_tag = kWorkerTag,
                .end_tag = kEndingWorkerTag,
                .on_message = [this](uint32_t worker,
                                     const FromWorker& message) { OnWorkerMessage(worker, message); },
                .on_gone = [this](uint32_t worker, pid_t pid) { OnWorkerGone(worker, pid); },
                .on_released = [this](uint32_t worker) { lost_rows_.erase(worker); }},
               loop_.get()),
      control_(loop_.get(), kControlListenerTag, kControlTag, [this] { AskForStatistics(); }) {}

Supervisor::~Supervisor() {
  for (const Listener& listener : listeners_)
    if (!listener.path.empty()) unlink(listener.path.c_str());
  unlink(options_.control_socket.c_str());
}

absl::Status Supervisor::Bind() {
  std::map<std::string, std::string> sockets = options_.named_sockets;
  sockets.emplace("", options_.socket);
  for (InheritedSocket& inherited : options_.inherited_sockets) {
    sockets.erase(inherited.guest);
    listeners_.push_back({std::move(inherited.socket), "", inherited.guest});
  }
  for (const auto& [guest, path] : sockets) {
    auto socket = Listen(path, kGuestSocketMode);
    if (!socket.ok()) return socket.status();
    listeners_.push_back({*std::move(socket), path, guest});
  }
  return control_.Bind(options_.control_socket);
}

absl::Status Supervisor::CatchSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGUSR1);
  sigprocmask(SIG_BLOCK, &signals, nullptr);
  signals_ = Fd(signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!signals_.valid()) return absl::ErrnoToStatus(errno, "signalfd");
  loop_->Poll(signals_.get(), POLLIN, {kSignalTag, 0});
  return absl::OkStatus();
}

void Supervisor::StartAccepting() {
  for (uint32_t i = 0; i < listeners_.size(); ++i)
    loop_->Poll(listeners_[i].socket.get(), POLLIN, {kListenerTag, i});
  control_.Start();
  if (options_.service_manager.watchdog_interval()) FeedWatchdog();
}

// From the loop, so that a supervisor that is stuck is noticed.
void Supervisor::FeedWatchdog() {
  options_.service_manager.FeedWatchdog();
  watchdog_timer_ = TimespecOf(*options_.service_manager.watchdog_interval());
  loop_->Timeout(&watchdog_timer_, {kWatchdogTag, 0});
}

void Supervisor::TellStatus() {
  if (guests_told_ == guests_.size()) return;
  guests_told_ = guests_.size();
  options_.service_manager.Status(absl::StrCat(guests_.size(), guests_.size() == 1 ? " guest" : " guests",
                                               ", driver ", options_.driver, " ", options_.driver_version));
}

absl::Status Supervisor::Run() {
  options_.service_manager.Ready();
  while (!IsDone()) {
    TellStatus();
    loop_->Submit(true);
    Completion completion;
    while (running_ && loop_->Next(&completion)) Complete(completion);
  }
  options_.service_manager.Stopping(kReleaseTime);
  if (leave_workers_) {
    Log(Severity::kInfo, "stopping; guests go on", {{"guests", guests_.size()}});
    return absl::OkStatus();
  }
  Log(Severity::kInfo, "stopping; guests lose their device", {{"guests", guests_.busy()}});
  workers_.EndAll();
  return absl::OkStatus();
}

void Supervisor::Complete(const Completion& completion) {
  switch (completion.tag.kind) {
    case kListenerTag:
      if (!completion.more)
        loop_->Poll(listeners_[completion.tag.index].socket.get(), POLLIN, completion.tag);
      return OnListener(completion.tag.index);
    case kControlListenerTag:
    case kControlTag:
      return control_.Complete(completion);
    case kSignalTag:
      return OnSignal();
    case kWorkerTag:
    case kEndingWorkerTag:
      return workers_.Complete(completion);
    case kTimerTag:
      timer_armed_ = false;
      return RetireGuests();
    case kDrainTag:
      running_ = false;
      return;
    case kWatchdogTag:
      return FeedWatchdog();
    default:
      return;
  }
}

void Supervisor::OnSignal() {
  signalfd_siginfo signal;
  if (read(signals_.get(), &signal, sizeof(signal)) != sizeof(signal)) return;
  if (signal.ssi_signo == SIGTERM && !draining_) return StartDraining();
  leave_workers_ = signal.ssi_signo == SIGUSR1;
  running_ = false;
}

void Supervisor::StartDraining() {
  Log(Severity::kInfo, "no new guests; those that are here have time to leave",
      {{"guests", guests_.busy()}, {"ms", options_.drain.count()}});
  draining_ = true;
  options_.service_manager.Stopping(options_.drain + kReleaseTime);
  drain_timer_ = TimespecOf(options_.drain);
  loop_->Timeout(&drain_timer_, {kDrainTag, 0});
}

bool Supervisor::IsDone() const { return !running_ || (draining_ && guests_.busy() == 0); }

// ---- Guests ----

void Supervisor::OnListener(uint32_t index) {
  const Listener& listener = listeners_[index];
  for (int i = 0; i < kAcceptsPerTurnMax; ++i) {
    Fd connection = Accept(listener.socket.get());
    if (!connection.valid()) return;
    auto peer = PeerOf(connection.get());
    if (!peer.ok()) continue;
    if (!listener.guest.empty()) {
      Admit(std::move(connection), listener.guest, peer->uid);
      continue;
    }
    auto name = GuestNameOf(*peer);
    if (name.ok()) Admit(std::move(connection), *name, peer->uid);
  }
  // More may wait, and a multishot poll tells of new ones only.
  loop_->Cancel({kListenerTag, index});
}

Limits Supervisor::LimitsOf(const std::string& guest_name) const {
  Limits limits = options_.guest_limits;
  const auto quota = options_.named_memory_quotas_bytes.find(guest_name);
  if (quota != options_.named_memory_quotas_bytes.end()) limits[Resource::kVideoMemory] = quota->second;
  return limits;
}

void Supervisor::Admit(Fd connection, const std::string& name, uid_t uid) {
  ToWorker message;
  AttachProcess* attach = message.mutable_attach();
  attach->set_name(name);
  attach->set_uid(uid);
  PutLimits(LimitsOf(name), attach->mutable_limits());
  std::vector<int> fds = {connection.get()};
  std::optional<UidSheets::Lease> row;
  const auto known = guests_.Find(name);
  if (!known || !rows_[*known].contains(uid)) {
    row = TakeRow(uid, attach);
    if (!row) return;
    fds.push_back(row->memfd());
  }
  const auto key = FindOrMake(name);
  if (!key) return;
  const auto& [worker, number] = *key;
  attach->set_guest_id(number);
  attach->set_instance(guests_.Get(*key).instance);
  if (!workers_.Send(worker, message, fds)) {
    LogOfGuest(name, Severity::kWarning, "its worker takes no more connections of a guest",
               {{"guest", number}, {"name", name}});
    return;
  }
  if (row) rows_[*key][uid] = *std::move(row);
  guests_.NoteAttached(*key);
}

// A row of the uid's sheet, and what a worker has to know of it.
std::optional<UidSheets::Lease> Supervisor::TakeRow(uid_t uid, AttachProcess* attach) {
  auto row = uid_sheets_.Take(uid);
  if (!row.ok()) {
    LogOfGuest(attach->name(), Severity::kWarning, "a process is turned away",
               {{"name", attach->name()}, {"uid", uid}, {"error", row.status().ToString()}});
    return std::nullopt;
  }
  attach->set_uid_row_plus_one(row->row() + 1);
  PutLimits(options_.uid_limits, attach->mutable_uid_limits());
  return *std::move(row);
}

std::optional<GuestTable::Key> Supervisor::FindOrMake(const std::string& name) {
  if (const auto key = guests_.Find(name)) return key;
  if (draining_) {
    LogOfGuest(name, Severity::kInfo, "a guest is turned away: the broker is stopping", {{"name", name}});
    return std::nullopt;
  }
  if (guests_.size() >= kGuestsMax) {
    LogOfGuest(name, Severity::kWarning, "a guest is turned away: there are as many as may be",
               {{"name", name}, {"guests", kGuestsMax}});
    return std::nullopt;
  }
  const auto worker = WorkerWithRoom(name);
  if (!worker) return std::nullopt;
  const GuestTable::Key key = guests_.Add(*worker, name, RandomInstance());
  ++records_.at(*worker).guests;
  LogOfGuest(name, Severity::kInfo, "a guest has come",
             {{"guest", key.second}, {"name", name}, {"worker_pid", workers_.PidOf(*worker)}});
  return key;
}

// A worker that may serve one more guest, started if need be.
std::optional<uint32_t> Supervisor::WorkerWithRoom(const std::string& guest_name) {
  for (const auto& [worker, record] : records_)
    if (record.takes_guests && record.guests < options_.guests_per_worker) return worker;
  const auto worker = workers_.Start();
  if (!worker.ok()) {
    LogOfGuest(guest_name, Severity::kWarning, "a guest is turned away: its worker does not start",
               {{"name", guest_name}, {"error", std::string(worker.status().message())}});
    return std::nullopt;
  }
  records_[*worker].takes_guests = true;
  return *worker;
}

// Retires guests that have been empty for long enough, and sets the timer for the next one.
void Supervisor::RetireGuests() {
  const auto now = Clock::now();
  for (const GuestTable::Key& guest : guests_.EmptySince(now - options_.guest_linger)) Retire(guest);
  const auto next = guests_.OldestEmpty();
  if (timer_armed_ || !next) return;
  timer_ = TimespecOf(*next + options_.guest_linger - now);
  timer_armed_ = true;
  loop_->Timeout(&timer_, {kTimerTag, 0});
}

void Supervisor::Retire(GuestTable::Key guest) {
  const auto [worker, number] = guest;
  guests_.Remove(guest);
  if (--records_.at(worker).guests == 0) return EndWorker(worker);
  rows_.erase(guest);
  ToWorker message;
  message.mutable_remove()->set_guest_id(number);
  workers_.Send(worker, message);
}

// ---- Workers ----

void Supervisor::OnWorkerMessage(uint32_t worker, const FromWorker& message) {
  if (message.has_hello()) return Adopt(worker, message.hello());
  if (message.has_empty() &&
      guests_.NoteEmpty({worker, message.empty().guest_id()}, message.empty().attached(), Clock::now()))
    return RetireGuests();
  const auto it = records_.find(worker);
  if (!message.has_statistics() || it == records_.end()) return;
  it->second.statistics = message.statistics();
  it->second.statistics_due = false;
  AnswerIfComplete();
}

// The worker of an earlier supervisor: it keeps its guests and gets no others.
void Supervisor::Adopt(uint32_t worker, const WorkerHello& hello) {
  const auto [it, is_new] = records_.try_emplace(worker);
  if (!is_new) return;  // started here
  if (hello.guests().empty()) return EndWorker(worker);
  for (const ServedGuest& guest : hello.guests()) {
    guests_.Adopt({worker, guest.guest_id()},
                  {.name = guest.name(), .instance = guest.instance(), .attached = guest.attached()});
    ++it->second.guests;
    Log(Severity::kInfo, "a guest and its worker go on",
        {{"guest", guest.guest_id()}, {"name", guest.name()}, {"worker_pid", hello.pid()}});
    for (const uint32_t uid : guest.uids()) Join({worker, guest.guest_id()}, uid);
  }
}

// What an earlier supervisor's sheet said of a guest, this one's says.
void Supervisor::Join(GuestTable::Key guest, uid_t uid) {
  ToWorker message;
  message.mutable_join()->set_guest_id(guest.second);
  message.mutable_join()->set_uid(uid);
  auto row = TakeRow(uid, message.mutable_join());
  if (!row) return;
  const int fds[] = {row->memfd()};
  if (workers_.Send(guest.first, message, fds)) rows_[guest][uid] = *std::move(row);
}

// What its guests held is held until the kernel has released it.
void Supervisor::KeepRows(uint32_t worker) {
  for (auto it = rows_.lower_bound({worker, 0}); it != rows_.end() && it->first.first == worker;
       it = rows_.erase(it))
    for (auto& [uid, row] : it->second) lost_rows_[worker].push_back(std::move(row));
}

// Its guests' device has fallen off the bus. Who connects again starts afresh.
void Supervisor::OnWorkerGone(uint32_t worker, pid_t pid) {
  Log(Severity::kWarning, "a worker is gone",
      {{"worker_pid", pid}, {"guests", guests_.RemoveWorker(worker)}});
  KeepRows(worker);
  records_.erase(worker);
  AnswerIfComplete();
}

void Supervisor::EndWorker(uint32_t worker) {
  KeepRows(worker);
  records_.erase(worker);
  workers_.End(worker);
  AnswerIfComplete();
}

// ---- Statistics ----

void Supervisor::AskForStatistics() {
  ToWorker message;
  message.mutable_statistics();
  for (auto& [worker, record] : records_) record.statistics_due = workers_.Send(worker, message);
  AnswerIfComplete();
}

void Supervisor::AnswerIfComplete() {
  if (!control_.statistics_wanted()) return;
  for (const auto& [worker, record] : records_)
    if (record.statistics_due) return;
  control_.Answer(Sum());
}

BrokerStatistics Supervisor::Sum() const {
  BrokerStatistics sum;
  sum.set_version(kVersion);
  sum.set_driver(options_.driver);
  sum.set_driver_version(options_.driver_version);
  for (const GpuInfo& gpu : options_.gpus) PutGpu(gpu, sum.add_gpus());
  for (const auto& [worker, record] : records_) {
    *sum.add_workers() = record.statistics;
    for (const GuestStatistics& guest : record.statistics.guests()) {
      sum.set_guests(sum.guests() + 1);
      sum.set_processes(sum.processes() + guest.processes());
      sum.set_files(sum.files() + guest.files());
      sum.set_clients(sum.clients() + guest.clients());
      sum.set_objects(sum.objects() + guest.objects());
      sum.set_memory_bytes(sum.memory_bytes() + guest.memory_bytes());
      sum.set_frames(sum.frames() + guest.opens_total() + guest.ioctls_total());
      for (const auto& [reason, count] : guest.refusals_total()) sum.set_refusals(sum.refusals() + count);
    }
  }
  PutLimits(options_.guest_limits, sum.mutable_guest_limits());
  PutLimits(options_.uid_limits, sum.mutable_uid_limits());
  for (const auto& [uid, used] : uid_sheets_.Sums()) {
    UidStatistics* statistics = sum.add_uids();
    statistics->set_uid(uid);
    for (uint64_t one : used.values()) statistics->add_used(one);
  }
  return sum;
}

}  // namespace nvshim::broker
