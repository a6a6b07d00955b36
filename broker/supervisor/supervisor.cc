#include "broker/supervisor/supervisor.h"

#include <poll.h>
#include <signal.h>
#include <spdlog/spdlog.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/signalfd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "broker/io/limits_message.h"
#include "broker/io/socket.h"
#include "broker/supervisor/guest_identity.h"

namespace nvshim::broker {
namespace {

enum TagKind : uint8_t {
  kListenerTag,
  kControlListenerTag,
  kSignalTag,
  kWorkerTag,
  kControlTag,
  kTimerTag,
  kEndingWorkerTag
};

// Guests connect from any uid; who they are decides the kernel, what they get the worker.
constexpr mode_t kGuestSocketMode = 0666;
constexpr mode_t kControlSocketMode = 0600;

// Statistics of a worker with a thousand guests.
constexpr size_t kWorkerMessageSizeBytesMax = 256 << 10;
constexpr size_t kControlMessageSizeBytesMax = 4096;

// Bounds the supervisor's tables and the worker processes it starts: a user who can make control groups can
// be many guests.
constexpr size_t kGuestsMax = 4096;

// Clients of the control socket that may wait at a time.
constexpr size_t kControlClientsMax = 16;

// Connections taken per turn before anything else is looked at.
constexpr int kAcceptsPerTurnMax = 64;

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
  if (auto status = supervisor->Bind(); !status.ok()) return status;
  return supervisor;
}

Supervisor::Supervisor(SupervisorOptions options, std::unique_ptr<Loop> loop)
    : options_(std::move(options)), loop_(std::move(loop)) {
  if (options_.worker_uids) worker_uids_.emplace(*options_.worker_uids);
}

Supervisor::~Supervisor() {
  ending_workers_.merge(workers_);
  for (auto& [index, worker] : ending_workers_) KillWorker(worker.process);
  for (auto& [index, worker] : ending_workers_) ReapWorker(worker.process, /*wait=*/true);
  for (const Listener& listener : listeners_) unlink(listener.path.c_str());
  if (control_listener_.valid()) unlink(options_.control_socket.c_str());
}

absl::Status Supervisor::Bind() {
  std::map<std::string, std::string> sockets = options_.named_sockets;
  sockets.emplace("", options_.socket);
  for (const auto& [guest, path] : sockets) {
    auto socket = Listen(path, kGuestSocketMode);
    if (!socket.ok()) return socket.status();
    loop_->Poll(socket->get(), POLLIN, {kListenerTag, static_cast<uint32_t>(listeners_.size())});
    listeners_.push_back({*std::move(socket), path, guest});
  }
  auto control = Listen(options_.control_socket, kControlSocketMode);
  if (!control.ok()) return control.status();
  control_listener_ = *std::move(control);
  loop_->Poll(control_listener_.get(), POLLIN, {kControlListenerTag, 0});
  return absl::OkStatus();
}

absl::Status Supervisor::CatchSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  sigprocmask(SIG_BLOCK, &signals, nullptr);
  signals_ = Fd(signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!signals_.valid()) return absl::ErrnoToStatus(errno, "signalfd");
  loop_->Poll(signals_.get(), POLLIN, {kSignalTag, 0});
  return absl::OkStatus();
}

absl::Status Supervisor::Run() {
  while (running_) {
    loop_->Submit(true);
    Completion completion;
    while (running_ && loop_->Next(&completion)) Complete(completion);
  }
  spdlog::info("stopping");
  return absl::OkStatus();
}

void Supervisor::Complete(const Completion& completion) {
  const uint32_t index = completion.tag.index;
  switch (completion.tag.kind) {
    case kListenerTag:
      if (!completion.more) loop_->Poll(listeners_[index].socket.get(), POLLIN, completion.tag);
      return OnListener(index);
    case kControlListenerTag:
      if (!completion.more) loop_->Poll(control_listener_.get(), POLLIN, completion.tag);
      return OnControlListener();
    case kSignalTag:
      running_ = false;
      return;
    case kWorkerTag: {
      OnWorker(index);
      const auto it = workers_.find(index);
      if (!completion.more && it != workers_.end())
        loop_->Poll(it->second.process.socket.get(), POLLIN | POLLRDHUP, completion.tag);
      return;
    }
    case kEndingWorkerTag:
      return OnEndingWorker(completion);
    case kControlTag: {
      OnControl(index);
      const auto it = control_clients_.find(index);
      if (!completion.more && it != control_clients_.end())
        loop_->Poll(it->second.socket.get(), POLLIN | POLLRDHUP, completion.tag);
      return;
    }
    case kTimerTag:
      timer_armed_ = false;
      return RetireGuests();
    default:
      return;
  }
}

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
  const auto known = guests_.find(name);
  const bool is_new_uid = known == guests_.end() || !known->second.rows.contains(uid);
  UidSheets::Lease row;
  if (is_new_uid) {
    auto taken = uid_sheets_.Take(uid);
    if (!taken.ok())
      return spdlog::warn("a process of uid {} is turned away: {}", uid, taken.status().ToString());
    row = *std::move(taken);
  }
  Guest* guest = FindOrMake(name);
  if (guest == nullptr) return;
  ToWorker message;
  AttachProcess* attach = message.mutable_attach();
  attach->set_guest_id(guest->id);
  attach->set_instance(guest->instance);
  attach->set_name(name);
  attach->set_uid(uid);
  PutLimits(LimitsOf(name), attach->mutable_limits());
  std::vector<int> fds = {connection.get()};
  if (is_new_uid) {
    attach->set_uid_row_plus_one(row.row() + 1);
    PutLimits(options_.uid_limits, attach->mutable_uid_limits());
    fds.push_back(row.memfd());
  }
  if (!Send(workers_.at(guest->worker).process.socket.get(), message.SerializeAsString(), fds)) {
    spdlog::warn("guest {} ({}): its worker takes no more connections", guest->id, name);
    return;
  }
  if (is_new_uid) guest->rows[uid] = std::move(row);
  ++guest->attached;
  guest->empty = false;
}

Supervisor::Guest* Supervisor::FindOrMake(const std::string& name) {
  const auto it = guests_.find(name);
  if (it != guests_.end()) return &it->second;
  if (guests_.size() >= kGuestsMax) {
    spdlog::warn("guest '{}' is turned away: {} guests are here already", name, kGuestsMax);
    return nullptr;
  }
  const uint32_t worker = WorkerWithRoom(name);
  if (worker == 0) return nullptr;
  Guest& guest = guests_[name];
  guest.id = next_guest_++;
  guest.instance = RandomInstance();
  guest.worker = worker;
  guest_names_[guest.id] = name;
  ++workers_.at(worker).guests;
  spdlog::info("guest {} is '{}', worker pid {}", guest.id, name, workers_.at(worker).process.pid);
  return &guest;
}

// A worker that may serve one more guest, started if need be. 0 when none can be started.
uint32_t Supervisor::WorkerWithRoom(const std::string& guest_name) {
  for (const auto& [index, worker] : workers_)
    if (worker.guests < options_.guests_per_worker) return index;
  WorkerUids::Lease lease;
  std::vector<std::string> arguments = options_.worker_arguments;
  if (worker_uids_) {
    lease = worker_uids_->Take();
    if (!lease.uid()) {
      spdlog::warn("guest '{}' is turned away: all user ids of --worker-uid-range are in use", guest_name);
      return 0;
    }
    arguments.push_back(absl::StrCat("--uid=", *lease.uid()));
  }
  auto process = StartWorker(arguments);
  if (!process.ok()) {
    spdlog::error("{}", process.status().ToString());
    return 0;
  }
  const uint32_t index = next_worker_++;
  loop_->Poll(process->socket.get(), POLLIN | POLLRDHUP, {kWorkerTag, index});
  WorkerRecord& worker = workers_[index];
  worker.process = *std::move(process);
  worker.uid = std::move(lease);
  return index;
}

void Supervisor::OnGuestEmpty(const GuestEmpty& message) {
  const auto name = guest_names_.find(message.guest_id());
  if (name == guest_names_.end()) return;
  Guest& guest = guests_.at(name->second);
  if (guest.attached != message.attached()) return;  // somebody is on the way to it
  guest.empty = true;
  guest.empty_since = Clock::now();
  RetireGuests();
}

// Retires guests that have been empty for long enough, and sets the timer for the next one.
void Supervisor::RetireGuests() {
  const auto now = Clock::now();
  std::vector<std::string> due;
  auto next = Clock::time_point::max();
  for (const auto& [name, guest] : guests_) {
    if (!guest.empty) continue;
    const auto when = guest.empty_since + options_.guest_linger;
    if (when <= now)
      due.push_back(name);
    else
      next = std::min(next, when);
  }
  for (const std::string& name : due) Retire(name);
  if (timer_armed_ || next == Clock::time_point::max()) return;
  const auto wait = std::chrono::duration_cast<std::chrono::nanoseconds>(next - now).count();
  timer_ = {wait / 1'000'000'000, wait % 1'000'000'000};
  timer_armed_ = true;
  loop_->Timeout(&timer_, {kTimerTag, 0});
}

void Supervisor::Retire(const std::string& name) {
  Guest guest = std::move(guests_.at(name));
  guests_.erase(name);
  guest_names_.erase(guest.id);
  WorkerRecord& worker = workers_.at(guest.worker);
  if (--worker.guests == 0) {
    KeepRows(guest, worker);
    EndWorker(guest.worker);
    return;
  }
  ToWorker message;
  message.mutable_remove()->set_guest_id(guest.id);
  Send(worker.process.socket.get(), message.SerializeAsString());
}

// ---- Workers ----

void Supervisor::OnWorker(uint32_t index) {
  std::vector<char> bytes(kWorkerMessageSizeBytesMax);
  for (;;) {
    const auto it = workers_.find(index);
    if (it == workers_.end()) return;
    const ssize_t received = Receive(it->second.process.socket.get(), bytes);
    if (received == kPeerGone) return LoseWorker(index);
    if (received == kNothingWaits) return;
    if (received == kTooLong) continue;
    FromWorker message;
    if (!message.ParseFromArray(bytes.data(), static_cast<int>(received))) continue;
    if (message.has_empty()) OnGuestEmpty(message.empty());
    if (message.has_statistics()) {
      it->second.statistics = message.statistics();
      it->second.statistics_due = false;
      AnswerIfComplete();
    }
  }
}

// What the guest held is held until the kernel has released it: until its worker is reaped.
void Supervisor::KeepRows(Guest& guest, WorkerRecord& worker) {
  for (auto& [uid, row] : guest.rows) worker.lost_rows.push_back(std::move(row));
}

// A worker is gone and its guests with it: their device has fallen off the bus. Who connects again starts
// afresh.
void Supervisor::LoseWorker(uint32_t index) {
  WorkerRecord& worker = workers_.at(index);
  spdlog::warn("worker pid {} is gone with {} guests", worker.process.pid, worker.guests);
  for (auto& [name, guest] : guests_)
    if (guest.worker == index) KeepRows(guest, worker);
  std::erase_if(guests_, [&](const auto& entry) {
    if (entry.second.worker != index) return false;
    guest_names_.erase(entry.second.id);
    return true;
  });
  EndWorker(index);
}

void Supervisor::EndWorker(uint32_t index) {
  loop_->Cancel({kWorkerTag, index});
  loop_->Submit(false);  // before the descriptor's number can mean something else
  auto node = workers_.extract(index);
  WorkerProcess& process = node.mapped().process;
  KillWorker(process);
  loop_->Poll(process.process.get(), POLLIN, {kEndingWorkerTag, index});
  ending_workers_.insert(std::move(node));
  AnswerIfComplete();
}

void Supervisor::OnEndingWorker(const Completion& completion) {
  const auto it = ending_workers_.find(completion.tag.index);
  if (it == ending_workers_.end()) return;
  if (ReapWorker(it->second.process, /*wait=*/false)) {
    loop_->Cancel(completion.tag);
    ending_workers_.erase(it);
  } else if (!completion.more) {
    loop_->Poll(it->second.process.process.get(), POLLIN, completion.tag);
  }
}

// ---- Control socket ----

void Supervisor::OnControlListener() {
  for (;;) {
    Fd client = Accept(control_listener_.get());
    if (!client.valid()) return;
    if (control_clients_.size() >= kControlClientsMax) continue;
    const uint32_t index = next_control_++;
    loop_->Poll(client.get(), POLLIN | POLLRDHUP, {kControlTag, index});
    control_clients_[index].socket = std::move(client);
  }
}

void Supervisor::OnControl(uint32_t index) {
  const auto it = control_clients_.find(index);
  if (it == control_clients_.end()) return;
  std::array<char, kControlMessageSizeBytesMax> bytes;
  const ssize_t received = Receive(it->second.socket.get(), bytes);
  if (received == kNothingWaits) return;
  ControlRequest request;
  if (received <= 0 || !request.ParseFromArray(bytes.data(), static_cast<int>(received)) ||
      !request.has_statistics()) {
    loop_->Cancel({kControlTag, index});
    control_clients_.erase(it);
    return;
  }
  it->second.waits = true;
  AskForStatistics();
  AnswerIfComplete();
}

void Supervisor::AskForStatistics() {
  ToWorker message;
  message.mutable_statistics();
  const std::string bytes = message.SerializeAsString();
  for (auto& [index, worker] : workers_) worker.statistics_due = Send(worker.process.socket.get(), bytes);
}

void Supervisor::AnswerIfComplete() {
  for (const auto& [index, worker] : workers_)
    if (worker.statistics_due) return;
  ControlReply reply;
  bool waits = false;
  for (auto& [index, client] : control_clients_) {
    if (!std::exchange(client.waits, false)) continue;
    if (!std::exchange(waits, true)) *reply.mutable_statistics() = Sum();
    Send(client.socket.get(), reply.SerializeAsString());
  }
}

BrokerStatistics Supervisor::Sum() const {
  BrokerStatistics sum;
  sum.set_driver(options_.driver);
  sum.set_driver_version(options_.driver_version);
  for (const auto& [index, worker] : workers_) {
    *sum.add_workers() = worker.statistics;
    for (const GuestStatistics& guest : worker.statistics.guests()) {
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
