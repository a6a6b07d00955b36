// The part of the supervisor that does what operators ask: statistics, guests that are added, limited, killed
// and removed at run time, the settings that are read again, and the end.
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "broker/io/limits_message.h"
#include "broker/log/log.h"
#include "broker/supervisor/supervisor.h"
#include "broker/version.h"

namespace nvshim::broker {
namespace {

using Clock = std::chrono::steady_clock;

// A worker answers within a turn of its loop. Nobody waits for longer for one that a driver holds up.
constexpr std::chrono::seconds kAnswerTime(2);

constexpr mode_t kGuestFolderMode = 0755;

ControlReply Done(std::string what) {
  ControlReply reply;
  reply.set_done(std::move(what));
  return reply;
}

void PutOwnLimits(const SomeLimits& limits, KnownGuest* known) {
  for (const auto& [resource, limit] : limits) {
    OwnLimit* own = known->add_own_limits();
    own->set_kind(std::string(InfoOf(resource).name));
    own->set_limit(limit);
  }
}

void PutGpu(const GpuInfo& gpu, GpuStatistics* statistics) {
  statistics->set_minor(gpu.minor);
  statistics->set_bus_id(gpu.bus_id);
  statistics->set_name(gpu.name);
  statistics->set_uuid(gpu.uuid);
  statistics->set_memory_bytes(gpu.memory_bytes);
  statistics->set_memory_reserved_bytes(gpu.memory_reserved_bytes);
}

// Where sockets of guests are that an operator gives no path.
absl::Status MakeGuestFolder(const std::string& path) {
  if (mkdir(path.c_str(), kGuestFolderMode) != 0)
    return errno == EEXIST ? absl::OkStatus()
                           : absl::ErrnoToStatus(errno, absl::StrCat("cannot make ", path));
  chmod(path.c_str(), kGuestFolderMode);  // whatever the umask
  return absl::OkStatus();
}

// Who has asked for a change, and what came of it.
void TellOperator(std::optional<uid_t> uid, const ControlRequest& request, const std::string& answer) {
  const auto* field = request.GetDescriptor()->FindFieldByNumber(request.request_case());
  Log(Severity::kInfo, "audit: an operator",
      {{"uid", uid ? absl::StrCat(*uid) : "unknown"},
       {"asks", field == nullptr ? "nothing known" : field->name()},
       {"answer", answer}});
}

}  // namespace

// ---- Requests ----

void Supervisor::OnRequest(uint32_t client, const ControlRequest& request) {
  auto reply = Do(request);
  if (!request.has_statistics() && !request.has_info())
    TellOperator(control_.UidOf(client), request,
                 reply.ok() ? reply->done() : std::string(reply.status().message()));
  if (reply.ok()) return AnswerLater(client, *std::move(reply), request.has_statistics());
  ControlReply refusal;
  refusal.set_error(std::string(reply.status().message()));
  control_.Answer(client, refusal);
}

absl::StatusOr<ControlReply> Supervisor::Do(const ControlRequest& request) {
  switch (request.request_case()) {
    case ControlRequest::kStatistics:
      return ControlReply();
    case ControlRequest::kInfo: {
      ControlReply reply;
      *reply.mutable_info() = Info();
      return reply;
    }
    case ControlRequest::kReload: {
      auto from_next_start = Reload();
      if (!from_next_start.ok()) return from_next_start.status();
      ControlReply reply = Done("limits and policy are those of the settings as they are now");
      for (const std::string& name : *from_next_start) reply.add_from_next_start(name);
      return reply;
    }
    case ControlRequest::kDrain:
      return Do(request.drain());
    case ControlRequest::kAdd:
      return Do(request.add());
    case ControlRequest::kLimit:
      return Do(request.limit());
    case ControlRequest::kKill:
      return Do(request.kill());
    case ControlRequest::kRemove:
      return Do(request.remove());
    case ControlRequest::REQUEST_NOT_SET:
      break;
  }
  return absl::UnimplementedError(
      absl::StrCat("this gpu-broker, which is ", kVersion, ", does not know the request"));
}

BrokerInfo Supervisor::Info() const {
  BrokerInfo info;
  info.set_version(kVersion);
  info.set_pid(static_cast<uint32_t>(getpid()));
  info.set_driver(options_.driver);
  info.set_driver_version(options_.driver_version);
  info.set_socket(options_.socket);
  for (const std::string& file : options_.settings.config_files) info.add_config_files(file);
  info.set_started_unix_s(started_unix_s_);
  info.set_settings_read_unix_s(settings_read_unix_s_);
  info.set_draining(draining_);
  return info;
}

absl::StatusOr<ControlReply> Supervisor::Do(const DrainRequest& request) {
  const auto most = request.has_within_ms() ? std::chrono::milliseconds(request.within_ms()) : options_.drain;
  StartDraining(most);
  return Done(absl::StrCat("no new guests; the broker ends when those that are here have left (",
                           guests_.busy(), "), in ", most.count(), " ms at the latest"));
}

// ---- Guests at run time ----

void Supervisor::BindAddedSockets() {
  if (auto status = run_time_guests_.Load(); !status.ok())
    Log(Severity::kError, "what operators have said of guests is lost",
        {{"error", std::string(status.message())}});
  for (const auto& [name, guest] : run_time_guests_.all()) {
    if (guest.socket.empty() || sockets_.Has(name)) continue;
    if (auto status = sockets_.BindLike(name, guest.socket, options_.socket); !status.ok())
      LogOfGuest(name, Severity::kError, "the socket of a guest that was added is not made again",
                 {{"name", name}, {"error", std::string(status.message())}});
  }
}

absl::StatusOr<std::string> Supervisor::NameOf(const std::string& name_or_number) const {
  const auto keys = guests_.KeysOf(name_or_number);
  if (!keys.empty()) return guests_.Get(keys[0]).name;
  if (sockets_.Has(name_or_number) || run_time_guests_.all().contains(name_or_number)) return name_or_number;
  return absl::NotFoundError(absl::StrCat("there is no guest '", name_or_number,
                                          "'; gpu-brokerctl guests list prints those there are"));
}

absl::StatusOr<ControlReply> Supervisor::Do(const AddGuestRequest& request) {
  const std::string& name = request.name();
  if (!IsGuestName(name))
    return absl::InvalidArgumentError(
        "a guest's name has 1 to 64 letters, digits, '.', '_' or '-', and begins with a letter or a digit");
  if (sockets_.Has(name))
    return absl::AlreadyExistsError(absl::StrCat("guest '", name, "' has a socket already"));
  if (draining_) return absl::FailedPreconditionError("the broker is stopping and takes no new guests");
  auto limits = LimitsFrom(request.limits());
  if (!limits.ok()) return limits.status();
  RunTimeGuests::Guest guest{request.socket(), *std::move(limits)};
  if (guest.socket.empty()) {
    const std::string folder = std::filesystem::path(options_.socket).parent_path() / "guests";
    if (auto status = MakeGuestFolder(folder); !status.ok()) return status;
    guest.socket = absl::StrCat(folder, "/", name, ".sock");
  }
  if (guest.socket[0] != '/') return absl::InvalidArgumentError("the path of a socket begins with /");
  if (auto status = sockets_.BindLike(name, guest.socket, options_.socket); !status.ok()) return status;
  const std::string socket = guest.socket;
  if (auto status = run_time_guests_.Put(name, std::move(guest)); !status.ok()) {
    sockets_.Close(name);
    return status;
  }
  Log(Severity::kInfo, "an operator has added a guest", {{"name", name}, {"socket", socket}});
  return Done(
      absl::StrCat("guest '", name, "' is who connects at ", socket, ", until the broker is stopped"));
}

absl::StatusOr<ControlReply> Supervisor::Do(const LimitGuestRequest& request) {
  auto name = NameOf(request.guest());
  if (!name.ok()) return name.status();
  auto limits = LimitsFrom(request.limits());
  if (!limits.ok()) return limits.status();
  RunTimeGuests::Guest guest = run_time_guests_.Get(*name);
  if (request.forget()) guest.limits.clear();
  for (const auto& [resource, limit] : *limits) guest.limits[resource] = limit;
  const bool has_own = !guest.limits.empty();
  if (auto status = run_time_guests_.Put(*name, std::move(guest)); !status.ok()) return status;
  for (const GuestTable::Key& key : guests_.KeysOf(*name)) ApplyLimits(key);
  LogOfGuest(*name, Severity::kInfo, "an operator has changed what a guest may have", {{"name", *name}});
  return Done(absl::StrCat(
      "guest '", *name,
      has_own ? "' has limits of its own, until the broker is stopped" : "' has the limits of the settings"));
}

absl::StatusOr<ControlReply> Supervisor::Do(const KillGuestRequest& request) {
  const auto keys = guests_.KeysOf(request.guest());
  if (keys.empty())
    return absl::NotFoundError(absl::StrCat(
        "guest '", request.guest(), "' is not there; gpu-brokerctl guests list prints those there are"));
  const std::string name = guests_.Get(keys[0]).name;
  for (const GuestTable::Key& key : keys) Kill(key);
  return Done(absl::StrCat("guest '", name, "' has lost its device; who connects again starts afresh"));
}

absl::StatusOr<ControlReply> Supervisor::Do(const RemoveGuestRequest& request) {
  const std::string& name = request.guest();
  if (run_time_guests_.Get(name).socket.empty())
    return absl::FailedPreconditionError(
        sockets_.Has(name) ? absl::StrCat("the socket of guest '", name,
                                          "' is that of a setting or of a systemd unit; remove it there")
                           : absl::StrCat("nobody has added a guest '", name, "'"));
  const auto keys = guests_.KeysOf(name);
  for (const GuestTable::Key& key : keys)
    if (!guests_.Get(key).empty_since && !request.force())
      return absl::FailedPreconditionError(
          absl::StrCat("guest '", name, "' has processes; end them first, or remove it with --force"));
  if (auto status = run_time_guests_.Put(name, {}); !status.ok()) return status;
  sockets_.Close(name);
  for (const GuestTable::Key& key : keys) Kill(key);
  Log(Severity::kInfo, "an operator has removed a guest", {{"name", name}});
  return Done(absl::StrCat("guest '", name, "' is no more"));
}

// A worker of its own goes with the guest: the kernel then frees what it had, whatever state that is in.
void Supervisor::Kill(GuestTable::Key guest) {
  const auto [worker, number] = guest;
  const std::string name = guests_.Get(guest).name;
  LogOfGuest(name, Severity::kWarning, "an operator takes the device from a guest",
             {{"guest", number}, {"name", name}});
  if (records_.at(worker).guests == 1) {
    guests_.RemoveWorker(worker);
    return EndWorker(worker);
  }
  if (guests_.Get(guest).empty_since) return Retire(guest);
  guests_.NoteKilled(guest);
  ToWorker message;
  message.mutable_kill()->set_guest_id(number);
  workers_.Send(worker, message);
}

// ---- Settings ----

absl::StatusOr<std::vector<std::string>> Supervisor::Reload() {
  options_.service_manager.Reloading();
  auto reloaded = options_.reload();
  if (reloaded.ok()) {
    options_.settings = std::move(reloaded->settings);
    settings_read_unix_s_ = time(nullptr);
    workers_.SetArguments(WorkerArguments());
    ApplyPolicy();
    ApplyUidLimits();
    for (const auto& [key, guest] : guests_.all()) ApplyLimits(key);  // last: frames that wait ask anew
    Log(Severity::kInfo, "the settings are read again",
        {{"from_next_start", absl::StrJoin(reloaded->from_next_start, ",")}});
  } else {
    Log(Severity::kError, "the settings are wrong, and nothing has changed",
        {{"error", std::string(reloaded.status().message())}});
  }
  options_.service_manager.Ready();
  if (!reloaded.ok()) return reloaded.status();
  return std::move(reloaded->from_next_start);
}

void Supervisor::ApplyLimits(GuestTable::Key guest) {
  ToWorker message;
  message.mutable_limits()->set_guest_id(guest.second);
  PutLimits(LimitsOf(guests_.Get(guest).name), message.mutable_limits()->mutable_limits());
  workers_.Send(guest.first, message);
}

void Supervisor::ApplyUidLimits() {
  for (const auto& [guest, rows] : rows_)
    for (const auto& [uid, row] : rows) {
      ToWorker message;
      message.mutable_join()->set_guest_id(guest.second);
      message.mutable_join()->set_uid(uid);
      PutRow(row, message.mutable_join());
      const int fds[] = {row.memfd()};
      workers_.Send(guest.first, message, fds);
    }
}

void Supervisor::ApplyPolicy() {
  ToWorker message;
  message.mutable_policy()->set_verdicts(options_.settings.verdicts);
  for (const auto& [worker, record] : records_) workers_.Send(worker, message);
}

// ---- Answers ----

void Supervisor::AnswerLater(uint32_t client, ControlReply reply, bool wants_statistics) {
  ToWorker question;
  question.mutable_statistics();
  for (const auto& [worker, record] : records_)
    if (workers_.Send(worker, question)) statistics_.NoteAsked(worker);
  waiting_.push_back(
      {client, std::move(reply), wants_statistics, statistics_.AskedSoFar(), Clock::now() + kAnswerTime});
  AnswerThoseWhoCanBe();
}

void Supervisor::AnswerThoseWhoCanBe() {
  const auto now = Clock::now();
  std::erase_if(waiting_, [&](Waiting& one) {
    if (!statistics_.AreAnswered(one.questions) && now < one.until) return false;
    if (one.wants_statistics) *one.reply.mutable_statistics() = Statistics();
    control_.Answer(one.client, one.reply);
    return true;
  });
  if (answer_timer_armed_ || waiting_.empty()) return;
  answer_timer_armed_ = true;
  answer_timer_ = TimespecOf(waiting_.front().until - now);
  loop_->Timeout(&answer_timer_, {kAnswerTag, 0});
}

BrokerStatistics Supervisor::Statistics() const {
  BrokerStatistics statistics;
  statistics.set_version(kVersion);
  statistics.set_driver(options_.driver);
  statistics.set_driver_version(options_.driver_version);
  for (const GpuInfo& gpu : options_.gpus) PutGpu(gpu, statistics.add_gpus());
  statistics_.AddTo(&statistics);
  PutLimits(options_.settings.guest_limits, statistics.mutable_guest_limits());
  PutLimits(options_.settings.uid_limits, statistics.mutable_uid_limits());
  for (const auto& [uid, used] : uid_sheets_.Sums()) {
    UidStatistics* one = statistics.add_uids();
    one->set_uid(uid);
    for (uint64_t amount : used.values()) one->add_used(amount);
  }
  std::map<std::string, KnownGuest> known;
  for (const auto& [name, socket] : sockets_.Named()) known[name].set_socket(socket);
  for (const auto& [name, guest] : run_time_guests_.all()) {
    known[name].set_added(!guest.socket.empty());
    PutOwnLimits(guest.limits, &known[name]);
  }
  for (auto& [name, guest] : known) {
    guest.set_name(name);
    *statistics.add_known() = std::move(guest);
  }
  return statistics;
}

}  // namespace nvshim::broker
