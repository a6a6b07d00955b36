#include "broker/worker/worker.h"

#include <poll.h>
#include <sched.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <utility>

#include "broker/core/limits.h"
#include "broker/io/socket.h"
#include "broker/io/transport.h"
#include "proto/wire/frame.h"

namespace nvshim::broker {
namespace {

enum TagKind : uint8_t { kSupervisorTag, kChannelTag, kDoorbellTag, kPlaceholderTag };

// How long a worker with nothing to do keeps looking before it sleeps. A sleeping worker answers some 10 us
// later, so a program that asks in a row should not find it asleep; beyond this the CPU is worth more than
// the latency.
constexpr std::chrono::microseconds kSpinTime(20);

// Turns of the loop between two looks at completions while lanes are busy: hang-ups may wait that long.
constexpr int kTurnsPerCompletionCheck = 16;

// The largest Hello: a version and a name.
constexpr size_t kHelloSizeBytesMax = 256;
constexpr size_t kSupervisorMessageSizeBytesMax = 4096;

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

std::vector<uint32_t> MinorsOf(const DriverInfo& info) {
  std::vector<uint32_t> minors;
  for (const GpuInfo& gpu : info.gpus) minors.push_back(gpu.minor);
  return minors;
}

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

absl::StatusOr<std::unique_ptr<Worker>> Worker::Create(WorkerOptions options) {
  const abi::Table* table = abi::FindTable(options.driver->info().version);
  if (table == nullptr)
    return absl::NotFoundError("no ABI table for driver version " + options.driver->info().version);
  auto loop = Loop::Create();
  if (!loop.ok()) return loop.status();
  return std::unique_ptr<Worker>(new Worker(std::move(options), *std::move(loop), table));
}

Worker::Worker(WorkerOptions options, std::unique_ptr<Loop> loop, const abi::Table* table)
    : supervisor_(std::move(options.supervisor)),
      driver_(std::move(options.driver)),
      add_driver_statistics_(std::move(options.add_driver_statistics)),
      loop_(std::move(loop)),
      core_(table, MinorsOf(driver_->info())),
      placeholders_(loop_.get(), kPlaceholderTag) {
  loop_->Poll(supervisor_.get(), POLLIN | POLLRDHUP, {kSupervisorTag, 0});
}

// ---- The loop
// -------------------------------------------------------------------------------------------------

void Worker::Run() {
  using Clock = std::chrono::steady_clock;
  Clock::time_point quiet_since{};
  int turn = 0;
  while (running_) {
    bool progress = ServeLanes();
    if (!progress || ++turn % kTurnsPerCompletionCheck == 0) {
      Completion completion;
      while (running_ && loop_->Next(&completion)) {
        Complete(completion);
        progress = true;
      }
    }
    for (uint32_t index : std::exchange(broken_, {})) Drop(index);
    if (progress) {
      quiet_since = {};
      continue;
    }
    const auto now = Clock::now();
    if (quiet_since == Clock::time_point{}) quiet_since = now;
    if (polled_.empty() || guest_shares_cpu_ || now - quiet_since >= kSpinTime) Sleep();
  }
}

// Arms the doorbells of the polled processes and waits for a completion, unless something came meanwhile.
void Worker::Sleep() {
  std::erase_if(polled_, [&](uint32_t index) {
    const auto it = connections_.find(index);
    if (it == connections_.end() || it->second.port == nullptr) return true;
    if (!it->second.port->ArmDoorbell()) {
      it->second.port->DisarmDoorbell();
      return false;
    }
    it->second.port->polled = false;
    return true;
  });
  loop_->Submit(polled_.empty());
}

void Worker::Complete(const Completion& completion) {
  const uint32_t index = completion.tag.index;
  switch (completion.tag.kind) {
    case kSupervisorTag:
      if (!completion.more) loop_->Poll(supervisor_.get(), POLLIN | POLLRDHUP, completion.tag);
      return OnSupervisor();
    case kChannelTag:
      return OnChannel(index);
    case kDoorbellTag: {
      const auto it = connections_.find(index);
      if (it == connections_.end() || it->second.port == nullptr || completion.result < 0) return;
      if (!completion.more) loop_->Poll(it->second.port->transport->doorbell(), POLLIN, completion.tag);
      return StartPolling(index, *it->second.port);
    }
    case kPlaceholderTag:
      placeholders_.Complete(
          completion,
          [&](GuestId guest, FileId file, uint32_t process) {
            Step(FileClaimed{guest, file, process});
          },
          [&](GuestId guest, FileId file) {
            Step(FileHungUp{guest, file});
            ReportIfEmpty(guest);
          });
      return;
    default:
      return;
  }
}

void Worker::StartPolling(uint32_t index, ProcessPort& port) {
  if (port.polled) return;
  port.polled = true;
  port.DisarmDoorbell();
  polled_.push_back(index);
}

bool Worker::ServeLanes() {
  bool progress = false;
  cpu_ = static_cast<uint32_t>(sched_getcpu()) + 1;
  // By index: serving may end a process, but never adds one to the list.
  for (size_t i = 0; i < polled_.size(); ++i) {
    const auto it = connections_.find(polled_[i]);
    if (it == connections_.end() || it->second.port == nullptr) continue;
    ProcessPort& port = *it->second.port;
    uint64_t pending = port.broken ? 0 : port.TakePending();
    if (pending != 0) {
      progress = true;
      port.TellCpu(cpu_);
    }
    for (; pending != 0 && !port.broken; pending &= pending - 1)
      ServeLane(port, static_cast<uint32_t>(__builtin_ctzll(pending)));
    if (port.broken && std::find(broken_.begin(), broken_.end(), polled_[i]) == broken_.end())
      broken_.push_back(polled_[i]);
  }
  return progress;
}

// One frame: a guest has one call outstanding per lane. More than that waits for the guest's next word.
void Worker::ServeLane(ProcessPort& port, uint32_t lane) {
  const CallToken token{port.guest, port.process, lane};
  switch (port.lanes[lane].Take(&frame_)) {
    case ServerLane::Result::kEmpty:
      return;
    case ServerLane::Result::kCorrupt:
      port.broken = true;
      return;
    case ServerLane::Result::kFrame:
      break;
  }
  guest_shares_cpu_ = port.transport->region().guest_cpu(lane).load(std::memory_order_relaxed) == cpu_;
  if (frame_.header.kind == wire::kFrameKindOpen) {
    OpenRequested event;
    if (codec_.DecodeOpen(frame_, token, &event)) return Step(event);
  } else if (frame_.header.kind == wire::kFrameKindIoctl) {
    if (codec_.DecodeIoctl(frame_, token, port.transport->region(), &request_, &port.places[lane])) {
      if (!core_.Holds(port.guest, port.process, request_.file_id_untrusted))
        DrainPlaceholder(port.guest, static_cast<FileId>(request_.file_id_untrusted));
      for (const FileReferenceUntrusted& file : request_.files_untrusted)
        if (!core_.Holds(port.guest, port.process, file.file_id))
          DrainPlaceholder(port.guest, static_cast<FileId>(file.file_id));
      return Step(std::move(request_));
    }
  }
  port.broken = true;
}

// ---- Supervisor and handshake
// ---------------------------------------------------------------------------------

void Worker::OnSupervisor() {
  std::array<char, kSupervisorMessageSizeBytesMax> bytes;
  for (;;) {
    Fd connection;
    const ssize_t received = ReceiveWithFd(supervisor_.get(), bytes, &connection);
    if (received == kPeerGone) running_ = false;
    if (received <= 0) return;
    ToWorker message;
    if (!message.ParseFromArray(bytes.data(), static_cast<int>(received))) continue;
    if (message.has_attach() && connection.valid()) Attach(message.attach(), std::move(connection));
    if (message.has_statistics()) ReportStatistics();
    if (message.has_remove()) {
      const auto guest = static_cast<GuestId>(message.remove().guest_id());
      Step(GuestRemoved{guest});
      guests_.erase(guest);
    }
  }
}

void Worker::Attach(const AttachProcess& attach, Fd connection) {
  const auto guest = static_cast<GuestId>(attach.guest_id());
  auto [it, is_new] = guests_.try_emplace(guest);
  if (is_new) {
    it->second.instance = attach.instance();
    it->second.name = attach.name();
    Step(GuestAdded{guest});
  }
  ++it->second.attached;
  ++it->second.connections;
  const uint32_t index = next_connection_++;
  loop_->Poll(connection.get(), POLLIN | POLLRDHUP, {kChannelTag, index});
  connections_.emplace(index, Connection{guest, std::move(connection), nullptr});
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
  if (guests_[connection.guest].connections > kProcessesPerGuestMax) {
    Refuse(connection.hello.get(), EAGAIN,
           "this guest has " + std::to_string(kProcessesPerGuestMax) + " processes already");
    return Drop(index);
  }
  if (!Admit(index, connection)) Drop(index);
}

bool Worker::Admit(uint32_t index, Connection& connection) {
  auto transport = CreateUnixTransport(std::move(connection.hello));
  if (!transport.ok()) {
    spdlog::warn("a guest process cannot be admitted: {}", transport.status().ToString());
    return false;
  }
  const auto process = static_cast<ProcessId>(index);
  connection.port = std::make_unique<ProcessPort>(connection.guest, process, *std::move(transport));
  Step(ProcessAttached{connection.guest, process});
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
    Step(ProcessGone{guest, static_cast<ProcessId>(index)});
  }
  loop_->Submit(false);  // before the descriptors' numbers can mean something else
  std::erase(polled_, index);
  connections_.erase(it);
  --guests_[guest].connections;
  ReportIfEmpty(guest);
}

void Worker::ReportIfEmpty(GuestId guest) {
  const auto it = guests_.find(guest);
  if (it == guests_.end() || it->second.connections != 0 || core_.Statistics(guest).files != 0) return;
  FromWorker message;
  message.mutable_empty()->set_guest_id(static_cast<uint32_t>(guest));
  message.mutable_empty()->set_attached(it->second.attached);
  SendMessage(supervisor_.get(), message);
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
    guest->set_opens_total(view.counters.opens);
    guest->set_ioctls_total(view.counters.ioctls);
    guest->set_driver_calls_total(view.counters.driver_calls);
    for (size_t i = 0; i < view.counters.refusals.size(); ++i)
      if (view.counters.refusals[i] != 0)
        (*guest->mutable_refusals_total())[kReasonNames[i]] = view.counters.refusals[i];
  }
  if (add_driver_statistics_) add_driver_statistics_(statistics);
  SendMessage(supervisor_.get(), message);
}

// ---- Actions
// --------------------------------------------------------------------------------------------------

// Carries out the core's actions; those that lead to further events append to the same list.
void Worker::Step(Event event) {
  core_.Step(std::move(event), &actions_);
  if (stepping_) return;  // the loop below is running and will get there
  stepping_ = true;
  for (size_t i = 0; i < actions_.size(); ++i) {
    Action action = std::move(actions_[i]);
    std::visit([&](auto& one) { Do(std::move(one)); }, action);
  }
  actions_.clear();
  stepping_ = false;
}

void Worker::Do(DriverOpen action) {
  Step(DriverOpened{action.token, driver_->Open(action.node, action.flags)});
}

void Worker::Do(DriverIoctl action) {
  const int error = driver_->Ioctl(action.file, action.call);
  Step(DriverReturned{action.token, error, std::move(action.call)});
}

void Worker::Do(DriverClose action) { driver_->Close(action.file); }

ProcessPort* Worker::PortOf(const CallToken& token) {
  const auto it = connections_.find(static_cast<uint32_t>(token.process));
  return it == connections_.end() ? nullptr : it->second.port.get();
}

void Worker::Do(ReplyOpen action) {
  ProcessPort* port = PortOf(action.token);
  if (action.error == 0) {
    auto guests_end = placeholders_.Create(action.token.guest, guests_[action.token.guest].instance,
                                           action.file, action.node);
    if (!guests_end.ok()) spdlog::warn("a file cannot be handed out: {}", guests_end.status().ToString());
    if (port == nullptr || !guests_end.ok() ||
        !port->transport->SendFd(action.token.lane, action.sequence, guests_end->get())) {
      Step(FileHungUp{action.token.guest, action.file});
      action.error = ENOMEM;
      action.file = FileId::kNone;
    }
  }
  if (port == nullptr) return;
  if (!codec_.Reply(port->lanes[action.token.lane], action)) port->broken = true;
  port->WakeIfWaiting(action.token.lane);
}

// The file that carries the mmap context goes to the guest and is closed here at once: the guest's descriptor
// and its mappings keep what they need alive.
bool Worker::SendMapping(ProcessPort& port, const ReplyIoctl& action) {
  const MapResult mapped = driver_->Map(action.mapping != 0 ? action.mapping : action.mappable);
  if (mapped.error != 0)
    return false;  // the call succeeded without installing a context: nothing to hand out
  const Fd fd(mapped.fd);
  return port.transport->SendFd(action.token.lane, action.sequence, fd.get());
}

void Worker::Do(ReplyIoctl action) {
  ProcessPort* port = PortOf(action.token);
  if (port != nullptr) {
    const uint32_t lane = action.token.lane;
    const bool with_fd = (action.mapping != 0 || action.mappable != 0) && SendMapping(*port, action);
    if (!codec_.Reply(port->lanes[lane], port->transport->region(), action, port->places[lane], with_fd))
      port->broken = true;
    port->WakeIfWaiting(lane);
  }
  if (action.mapping != 0) driver_->Close(action.mapping);
  request_.call_untrusted = std::move(action.call);  // the buffers, for the next frame
}

void Worker::Do(ClosePlaceholder action) { placeholders_.Close(action.guest, action.file); }

void Worker::Do(NoteRefusal action) {
  spdlog::info("guest {}: refused {} 0x{:x} ({})", static_cast<uint32_t>(action.guest),
               kReasonNames[static_cast<size_t>(action.refusal.reason)], action.refusal.number,
               action.refusal.error != 0 ? "errno " + std::to_string(action.refusal.error)
                                         : "status " + std::to_string(action.refusal.status));
}

void Worker::DrainPlaceholder(GuestId guest, FileId file) {
  placeholders_.Drain(
      guest, file,
      [&](GuestId of, FileId claimed, uint32_t process) {
        Step(FileClaimed{of, claimed, process});
      },
      [&](GuestId of, FileId hung_up) {
        Step(FileHungUp{of, hung_up});
      });
}

}  // namespace nvshim::broker
