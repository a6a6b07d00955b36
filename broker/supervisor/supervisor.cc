#include "broker/supervisor/supervisor.h"

#include <poll.h>
#include <signal.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <time.h>

#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "broker/io/limits_message.h"
#include "broker/log/log.h"

namespace nvshim::broker {
namespace {

using Clock = std::chrono::steady_clock;

// Bounds the supervisor's tables and the worker processes it starts: a user who can make control groups can
// be many guests.
constexpr size_t kGuestsMax = 4096;

// The kernel releases what ended workers held; a driver of hardware may take seconds for each.
constexpr std::chrono::seconds kReleaseTime(60);

uint64_t RandomInstance() {
  uint64_t instance = 0;
  while (getrandom(&instance, sizeof(instance), 0) != sizeof(instance)) {
  }
  return instance;
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
  supervisor->BindAddedSockets();
  supervisor->StartAccepting();
  return supervisor;
}

Supervisor::Supervisor(SupervisorOptions options, std::unique_ptr<Loop> loop)
    : options_(std::move(options)),
      loop_(std::move(loop)),
      sockets_(loop_.get(), kGuestSocketTag,
               [this](Fd connection, const std::string& name, uid_t uid) {
                 Admit(std::move(connection), name, uid);
               }),
      workers_({.folder = options_.worker_folder,
                .arguments = {},
                .uids = options_.worker_uids,
                .message_tag = kWorkerTag,
                .end_tag = kEndingWorkerTag,
                .on_message = [this](uint32_t worker,
                                     const FromWorker& message) { OnWorkerMessage(worker, message); },
                .on_gone = [this](uint32_t worker, pid_t pid) { OnWorkerGone(worker, pid); },
                .on_released = [this](uint32_t worker) { lost_rows_.erase(worker); }},
               loop_.get()),
      control_(loop_.get(), kControlListenerTag, kControlTag,
               [this](uint32_t client, const ControlRequest& request) { OnRequest(client, request); }),
      run_time_guests_(options_.state_file),
      started_unix_s_(time(nullptr)),
      settings_read_unix_s_(started_unix_s_) {
  workers_.SetArguments(WorkerArguments());
}

Supervisor::~Supervisor() = default;

std::vector<std::string> Supervisor::WorkerArguments() const {
  std::vector<std::string> arguments = options_.worker_arguments;
  arguments.push_back("--verdicts=" + options_.settings.verdicts);
  return arguments;
}

absl::Status Supervisor::Bind() {
  std::map<std::string, std::string> sockets = options_.named_sockets;
  sockets.emplace("", options_.socket);
  for (InheritedSocket& inherited : options_.inherited_sockets.guests) {
    sockets.erase(inherited.guest);
    sockets_.Take(inherited.guest, std::move(inherited.socket));
  }
  for (const auto& [guest, path] : sockets)
    if (auto status = sockets_.Bind(guest, path); !status.ok()) return status;
  if (!options_.inherited_sockets.control.valid()) return control_.Bind(options_.control_socket);
  control_.Take(std::move(options_.inherited_sockets.control));
  return absl::OkStatus();
}

absl::Status Supervisor::CatchSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGUSR1);
  sigaddset(&signals, SIGHUP);
  sigprocmask(SIG_BLOCK, &signals, nullptr);
  signals_ = Fd(signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!signals_.valid()) return absl::ErrnoToStatus(errno, "signalfd");
  loop_->Poll(signals_.get(), POLLIN, {kSignalTag, 0});
  return absl::OkStatus();
}

void Supervisor::StartAccepting() {
  sockets_.Start();
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
  run_time_guests_.RemoveFile();
  return absl::OkStatus();
}

void Supervisor::Complete(const Completion& completion) {
  switch (completion.tag.kind) {
    case kGuestSocketTag:
      return sockets_.Complete(completion);
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
      if (completion.result == -ETIME) running_ = false;
      return;
    case kAnswerTag:
      answer_timer_armed_ = false;
      return AnswerThoseWhoCanBe();
    case kWatchdogTag:
      return FeedWatchdog();
    default:
      return;
  }
}

void Supervisor::OnSignal() {
  signalfd_siginfo signal;
  if (read(signals_.get(), &signal, sizeof(signal)) != sizeof(signal)) return;
  if (signal.ssi_signo == SIGHUP) {
    Reload().IgnoreError();  // which is logged
    return;
  }
  if (signal.ssi_signo == SIGTERM && !draining_) return StartDraining(options_.drain);
  leave_workers_ = signal.ssi_signo == SIGUSR1;
  running_ = false;
}

void Supervisor::StartDraining(std::chrono::milliseconds most) {
  Log(Severity::kInfo, "no new guests; those that are here have time to leave",
      {{"guests", guests_.busy()}, {"ms", most.count()}});
  if (std::exchange(draining_, true)) {
    loop_->Cancel({kDrainTag, 0});
    loop_->Submit(false);  // before the next timer has its tag
  }
  options_.service_manager.Stopping(most + kReleaseTime);
  drain_timer_ = TimespecOf(most);
  loop_->Timeout(&drain_timer_, {kDrainTag, 0});
}

bool Supervisor::IsDone() const { return !running_ || (draining_ && guests_.busy() == 0); }

// ---- Guests ----

Limits Supervisor::LimitsOf(const std::string& guest_name) const {
  Limits limits = options_.settings.guest_limits;
  const auto& quotas = options_.settings.named_memory_quotas_bytes;
  if (const auto quota = quotas.find(guest_name); quota != quotas.end())
    limits[Resource::kVideoMemory] = quota->second;
  for (const auto& [resource, limit] : run_time_guests_.Get(guest_name).limits) limits[resource] = limit;
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
  PutRow(*row, attach);
  return *std::move(row);
}

void Supervisor::PutRow(const UidSheets::Lease& row, AttachProcess* attach) const {
  attach->set_uid_row_plus_one(row.row() + 1);
  PutLimits(options_.settings.uid_limits, attach->mutable_uid_limits());
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
  if (!message.has_statistics()) return;
  statistics_.NoteAnswered(worker, message.statistics());
  AnswerThoseWhoCanBe();
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
  statistics_.Remove(worker);
  AnswerThoseWhoCanBe();
}

void Supervisor::EndWorker(uint32_t worker) {
  KeepRows(worker);
  records_.erase(worker);
  statistics_.Remove(worker);
  workers_.End(worker);
  AnswerThoseWhoCanBe();
}

}  // namespace nvshim::broker
