// The part of the worker that admits: messages of the supervisor, the handshake with a guest process, its
// departure, and the statistics.
#include <poll.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <utility>

#include "broker/io/limits_message.h"
#include "broker/io/socket.h"
#include "broker/io/transport.h"
#include "broker/io/uid_sheet.h"
#include "broker/log/log.h"
#include "broker/worker/worker.h"
#include "proto/wire/frame.h"

namespace nvshim::broker {
namespace {

// The largest Hello: a version and a name.
constexpr size_t kHelloSizeBytesMax = 256;
// The largest is a policy, with a letter for each of the few hundred specs of a table, or an AttachProcess
// with the name of a long control group.
constexpr size_t kSupervisorMessageSizeBytesMax = 8192;

// How often the driver is asked whether mappings that a guest has left behind, in a process that the broker
// does not know, are gone. Nobody waits for it.
constexpr __kernel_timespec kReapInterval = {.tv_sec = 1, .tv_nsec = 0};

bool SendMessage(int socket, const FromWorker& message) { return Send(socket, message.SerializeAsString()); }

void Refuse(int connection, int error, const std::string& reason) {
  ChannelMessage message;
  Refused* refused = message.mutable_refused();
  refused->set_error(error);
  refused->set_reason(reason);
  refused->set_protocol_version_min(wire::kProtocolVersion);
  refused->set_protocol_version_max(wire::kProtocolVersion);
  Send(connection, message.SerializeAsString());
}

// Of a uid whose sheet cannot be mapped: what is not bound together with the uid's other guests is not had.
class NoLevel final : public UidLevel {
 public:
  bool Raise(Resource, uint64_t, uint64_t) override { return false; }
  void Set(Resource, uint64_t) override {}
  uint64_t limit(Resource) const override { return 0; }
  uint64_t used(Resource) const override { return 0; }
  uint64_t NextFrameNs(uint64_t now_ns) override { return now_ns; }
  void RefillFrames() override {}
};

Welcome WelcomeFor(const DriverInfo& info, uint32_t process_id, uint64_t instance) {
  Welcome welcome;
  welcome.set_process_id(process_id);
  welcome.set_driver_version(info.version);
  welcome.set_region_size_bytes(wire::kRegionSizeBytes);
  welcome.set_uvm_major(info.uvm_major);
  welcome.set_guest_instance(instance);
  for (const GpuInfo& gpu : info.gpus) {
    Gpu* to = welcome.add_gpus();
    to->set_minor(gpu.minor);
    to->set_bus_id(gpu.bus_id);
    to->set_name(gpu.name);
    to->set_uuid(gpu.uuid);
  }
  for (const auto& [path, contents] : info.files) {
    VirtualFile* file = welcome.add_files();
    file->set_path(path);
    file->set_contents(contents);
  }
  return welcome;
}

}  // namespace

// ---- The supervisor ----

// Who connects is a supervisor, and the one before it is gone or about to be.
void Worker::OnListener() {
  for (;;) {
    Fd next = Accept(listener_.get());
    if (!next.valid()) return;
    if (supervisor_.valid()) ReadSupervisor();  // what it said before it died counts
    LoseSupervisor();
    Serve(std::move(next));
    if (!ReadSupervisor()) LoseSupervisor();
  }
}

void Worker::Serve(Fd supervisor) {
  supervisor_ = std::move(supervisor);
  loop_->Poll(supervisor_.get(), POLLIN | POLLRDHUP, {kSupervisorTag, supervisor_number_});
  SayHello();
}

void Worker::OnSupervisor(const Completion& completion) {
  if (completion.tag.index != supervisor_number_) return;  // of one that is gone
  if (!ReadSupervisor()) return LoseSupervisor();
  if (!completion.more) loop_->Poll(supervisor_.get(), POLLIN | POLLRDHUP, completion.tag);
}

// Does what the supervisor has said. False when it is gone.
bool Worker::ReadSupervisor() {
  std::array<char, kSupervisorMessageSizeBytesMax> bytes;
  for (;;) {
    std::array<Fd, 2> fds;  // a connection, and a sheet; or only a sheet
    const ssize_t received = ReceiveWithFds(supervisor_.get(), bytes, fds);
    if (received == kPeerGone) return false;
    if (received == kNothingWaits) return true;
    ToWorker message;
    if (received == kTooLong || !message.ParseFromArray(bytes.data(), static_cast<int>(received))) continue;
    if (message.has_attach() && fds[0].valid())
      Attach(message.attach(), std::move(fds[0]), std::move(fds[1]));
    if (message.has_join()) AddUid(message.join(), std::move(fds[0]));
    if (message.has_limits()) ChangeLimits(message.limits());
    if (message.has_policy()) ChangePolicy(message.policy());
    if (message.has_kill()) Kill(static_cast<GuestId>(message.kill().guest_id()));
    if (message.has_statistics()) ReportStatistics();
    if (message.has_remove()) {
      const auto guest = static_cast<GuestId>(message.remove().guest_id());
      Step(GuestRemoved{guest});
      guests_.erase(guest);
    }
  }
}

// The guests go on. The next supervisor finds this worker by its listener.
void Worker::LoseSupervisor() {
  if (!supervisor_.valid()) return;
  loop_->Cancel({kSupervisorTag, supervisor_number_});
  loop_->Submit(false);  // before the descriptor's number can mean something else
  ++supervisor_number_;
  supervisor_.Reset();
  if (!listener_.valid()) running_ = false;
  EndLater();
}

void Worker::SayHello() {
  FromWorker message;
  WorkerHello* hello = message.mutable_hello();
  hello->set_pid(static_cast<uint32_t>(getpid()));
  for (const auto& [id, record] : guests_) {
    ServedGuest* guest = hello->add_guests();
    guest->set_guest_id(static_cast<uint32_t>(id));
    guest->set_instance(record.instance);
    guest->set_name(record.name);
    guest->set_attached(record.attached);
    for (const uint32_t uid : record.uids) guest->add_uids(uid);
  }
  SendMessage(supervisor_.get(), message);
  for (const auto& [guest, record] : guests_) ReportIfEmpty(guest);
}

// Without a supervisor nobody can come, and nobody would end this worker when all have left.
void Worker::EndLater() {
  if (alone_waits_) return;
  alone_waits_ = true;
  alone_wait_ = TimespecOf(guest_linger_);
  loop_->Timeout(&alone_wait_, {kAloneTag, 0});
}

void Worker::EndIfAlone() {
  if (supervisor_.valid()) return;
  for (const auto& [guest, record] : guests_)
    if (!IsEmpty(guest, record)) return;
  if (driver_->Reap() != 0) return ReapLater();
  Log(Severity::kInfo, "neither a supervisor nor a guest is left");
  running_ = false;
}

// ---- Guests ----

void Worker::Attach(const AttachProcess& attach, Fd connection, Fd sheet) {
  const auto guest = static_cast<GuestId>(attach.guest_id());
  auto [it, is_new] = guests_.try_emplace(guest);
  if (is_new) {
    it->second.instance = attach.instance();
    it->second.name = attach.name();
    Step(GuestAdded{guest, LimitsIn(attach.limits(), DefaultLimits())});
  }
  if (attach.uid_row_plus_one() != 0) AddUid(attach, std::move(sheet));
  ++it->second.attached;
  ++it->second.connections;
  const uint32_t index = next_connection_++;
  loop_->Poll(connection.get(), POLLIN | POLLRDHUP, {kChannelTag, index});
  connections_.emplace(index, Connection{guest, attach.uid(), std::move(connection), nullptr});
}

void Worker::AddUid(const AttachProcess& attach, Fd sheet) {
  const auto guest = guests_.find(static_cast<GuestId>(attach.guest_id()));
  if (guest == guests_.end()) return;  // it left meanwhile
  const bool is_new = guest->second.uids.insert(attach.uid()).second;
  std::shared_ptr<UidLevel> level = std::make_shared<NoLevel>();
  if (auto mapped = UidSheet::Map(std::move(sheet)); !mapped.ok())
    LogOfGuest(guest->second.name, Severity::kError, "processes of a user are turned away",
               {{"uid", attach.uid()}, {"error", mapped.status().ToString()}});
  else if (attach.uid_row_plus_one() <= UidSheet::kRows)
    level = std::make_shared<UidRow>(*std::move(mapped), attach.uid_row_plus_one() - 1,
                                     LimitsIn(attach.uid_limits(), NoLimits()));
  Step(UidAdded{static_cast<GuestId>(attach.guest_id()), attach.uid(), std::move(level)});
  if (!is_new) NoteRates(guest->first);
}

void Worker::ChangeLimits(const SetLimits& limits) {
  const auto guest = static_cast<GuestId>(limits.guest_id());
  Step(LimitsChanged{guest, LimitsIn(limits.limits(), DefaultLimits())});
  NoteRates(guest);
  AskAnew(guest);
}

void Worker::ChangePolicy(const SetPolicy& policy) {
  auto verdicts = Verdicts::Decode(*table_, policy.verdicts());
  if (!verdicts)
    return Log(Severity::kError,
               "the policy is not for the tables of this worker, which an earlier version has "
               "started: its guests keep theirs");
  Step(PolicyChanged{*std::move(verdicts)});
}

// For a worker that has other guests as well; else the supervisor ends the worker.
void Worker::Kill(GuestId guest) {
  std::vector<uint32_t> indices;
  for (const auto& [index, connection] : connections_)
    if (connection.guest == guest) indices.push_back(index);
  for (uint32_t index : indices) Drop(index);
  for (FileId file : placeholders_.FilesOf(guest)) Step(FileHungUp{guest, file});
  ReportIfEmpty(guest);
}

// A guest says Hello on its channel, once; anything later means that it is gone or confused.
void Worker::OnChannel(uint32_t index) {
  const auto it = connections_.find(index);
  if (it == connections_.end()) return;
  if (it->second.port == nullptr) return Greet(index, it->second);
  char byte;
  const ssize_t received = Receive(it->second.port->transport->channel(), {&byte, 1});
  if (received != kNothingWaits) Drop(index);
}

void Worker::Greet(uint32_t index, Connection& connection) {
  std::array<char, kHelloSizeBytesMax> bytes;
  const ssize_t received = Receive(connection.hello.get(), bytes);
  if (received == kNothingWaits) return;
  ChannelMessage message;
  if (received <= 0 || !message.ParseFromArray(bytes.data(), static_cast<int>(received)) ||
      !message.has_hello())
    return Drop(index);
  if (message.hello().protocol_version() != wire::kProtocolVersion) {
    Refuse(connection.hello.get(), EPROTO,
           "this broker speaks version " + std::to_string(wire::kProtocolVersion) + ", the shim version " +
               std::to_string(message.hello().protocol_version()) + ": install matching packages");
    return Drop(index);
  }
  const auto process = static_cast<ProcessId>(index);
  Step(ProcessAttached{connection.guest, process, message.hello().pid(), connection.uid});
  if (!core_.IsAttached(connection.guest, process)) {
    Refuse(connection.hello.get(), EAGAIN, "this guest, or its user, has as many processes as it may");
    return Drop(index);
  }
  if (!Admit(index, connection)) Drop(index);
}

bool Worker::Admit(uint32_t index, Connection& connection) {
  auto transport = CreateUnixTransport(std::move(connection.hello));
  if (!transport.ok()) {
    LogOfGuest(
        guests_[connection.guest].name, Severity::kWarning, "a guest process cannot be admitted",
        {{"guest", static_cast<uint32_t>(connection.guest)}, {"error", transport.status().ToString()}});
    return false;
  }
  const auto process = static_cast<ProcessId>(index);
  connection.port = std::make_unique<ProcessPort>(connection.guest, process, *std::move(transport));
  connection.port->rated = core_.HasFrameRate(connection.guest, process);
  loop_->Poll(connection.port->transport->doorbell(), POLLIN, {kDoorbellTag, index});
  const Welcome welcome = WelcomeFor(driver_->info(), index, guests_[connection.guest].instance);
  return connection.port->transport->SendWelcome(welcome);
}

void Worker::Drop(uint32_t index) {
  const auto it = connections_.find(index);
  if (it == connections_.end()) return;
  const GuestId guest = it->second.guest;
  loop_->Cancel({kChannelTag, index});
  if (it->second.port != nullptr) {
    loop_->Cancel({kDoorbellTag, index});
    if (it->second.port->late_timer) loop_->Cancel({kLateTag, index});
    if (it->second.port->gpu_doorbell != nullptr)
      driver_->RemoveDoorbell(it->second.port->gpu_doorbell.get());
  }
  Step(ProcessGone{guest, static_cast<ProcessId>(index)});
  loop_->Submit(false);  // before the descriptors' numbers can mean something else
  std::erase(polled_, index);
  connections_.erase(it);
  --guests_[guest].connections;
  ReportIfEmpty(guest);
}

bool Worker::IsEmpty(GuestId guest, const GuestRecord& record) const {
  return record.connections == 0 && core_.Statistics(guest).files == 0;
}

void Worker::ReportIfEmpty(GuestId guest) {
  const auto it = guests_.find(guest);
  if (it == guests_.end() || !IsEmpty(guest, it->second)) return;
  it->second.refusals.TakeRest([&](const RefusalLog::Line& line) { TellRefusal(line); });
  // An empty guest's worker may be ended, and with it all that the driver still keeps.
  if (driver_->Reap() != 0) return ReapLater();
  if (!supervisor_.valid()) return EndLater();
  FromWorker message;
  message.mutable_empty()->set_guest_id(static_cast<uint32_t>(guest));
  message.mutable_empty()->set_attached(it->second.attached);
  SendMessage(supervisor_.get(), message);
}

void Worker::ReapLater() {
  if (reap_waits_) return;
  reap_waits_ = true;
  reap_wait_ = kReapInterval;
  loop_->Timeout(&reap_wait_, {kReapTag, 0});
}

void Worker::ReportStatistics() {
  FromWorker message;
  WorkerStatistics* statistics = message.mutable_statistics();
  statistics->set_pid(static_cast<uint32_t>(getpid()));
  for (const auto& [id, record] : guests_) {
    const broker::GuestStatisticsView view = core_.Statistics(id);
    GuestStatistics* guest = statistics->add_guests();
    guest->set_guest_id(static_cast<uint32_t>(id));
    guest->set_name(record.name);
    guest->set_worker_pid(statistics->pid());
    guest->set_processes(view.processes);
    guest->set_files(view.files);
    guest->set_clients(view.clients);
    guest->set_objects(view.objects);
    guest->set_memory_bytes(view.used[Resource::kVideoMemory]);
    const uint64_t quota_bytes = view.limits[Resource::kVideoMemory];
    guest->set_memory_quota_bytes(quota_bytes == kNoLimit ? 0 : quota_bytes);
    for (uint64_t used : view.used.values()) guest->add_used(used);
    if (view.limits != DefaultLimits()) PutLimits(view.limits, guest->mutable_limits());
    if (view.refused != Amounts())
      for (uint64_t refused : view.refused.values()) guest->add_refused_total(refused);
    guest->set_opens_total(view.counters.opens);
    guest->set_ioctls_total(view.counters.ioctls);
    guest->set_driver_calls_total(view.counters.driver_calls);
    guest->set_would_be_denied_total(view.counters.would_be_denied);
    for (size_t i = 0; i < view.counters.refusals.size(); ++i)
      if (view.counters.refusals[i] != 0)
        (*guest->mutable_refusals_total())[kReasonNames[i]] = view.counters.refusals[i];
  }
  if (add_driver_statistics_) add_driver_statistics_(statistics);
  SendMessage(supervisor_.get(), message);
}

}  // namespace nvshim::broker
