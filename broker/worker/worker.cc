#include "broker/worker/worker.h"

#include <poll.h>
#include <sched.h>

#include <algorithm>
#include <bit>
#include <chrono>
#include <cstring>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "broker/log/log.h"
#include "proto/wire/frame.h"

namespace nvshim::broker {
namespace {

// How long a worker with nothing to do keeps looking before it sleeps. A sleeping worker answers some 10 us
// later, so a program that asks in a row should not find it asleep; beyond this the CPU is worth more than
// the latency.
constexpr std::chrono::microseconds kSpinTime(20);

// Turns of the loop between two looks at completions while lanes are busy: hang-ups may wait that long.
constexpr int kTurnsPerCompletionCheck = 16;

uint64_t NowNs() {
  return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(
                                   std::chrono::steady_clock::now().time_since_epoch())
                                   .count());
}

std::vector<uint32_t> MinorsOf(const DriverInfo& info) {
  std::vector<uint32_t> minors;
  for (const GpuInfo& gpu : info.gpus) minors.push_back(gpu.minor);
  return minors;
}

// What the machine's owner can do about it, where that is not to leave things as they are.
const char* RemedyFor(Reason reason) {
  switch (reason) {
    case Reason::kUnknownEscape:
    case Reason::kUnknownUvmCall:
    case Reason::kUnknownControl:
    case Reason::kUnknownClass:
      return "no table has it: docs/adding_an_ioctl.md";
    case Reason::kDeniedByPolicy:
      return "gpu-brokerctl policy explain NUMBER says why, --policy changes it";
    case Reason::kOverLimit:
      return "gpu-brokerctl stats says which limit, --limit raises it";
    case Reason::kOverQuota:
      return "--mem-quota raises it";
    case Reason::kOtherVersion:
      return "the guest needs the libraries of this version of the driver";
    default:
      return "none";
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<Worker>> Worker::Create(WorkerOptions options) {
  const abi::Table* table = abi::ChooseTable(options.driver->info().version).table;
  if (table == nullptr)
    return absl::NotFoundError("no ABI table for driver version " + options.driver->info().version);
  auto verdicts = Verdicts::Decode(*table, options.verdicts);
  if (!verdicts) return absl::InvalidArgumentError("the verdicts are not those of this driver version");
  auto loop = Loop::Create();
  if (!loop.ok()) return loop.status();
  auto blocking_calls = BlockingCalls::Create(options.driver.get());
  if (!blocking_calls.ok()) return blocking_calls.status();
  return std::unique_ptr<Worker>(new Worker(std::move(options), *std::move(loop), *std::move(blocking_calls),
                                            table, *std::move(verdicts)));
}

Worker::Worker(WorkerOptions options, std::unique_ptr<Loop> loop,
               std::unique_ptr<BlockingCalls> blocking_calls, const abi::Table* table, Verdicts verdicts)
    : listener_(std::move(options.listener)),
      guest_linger_(options.guest_linger),
      driver_(std::move(options.driver)),
      add_driver_statistics_(std::move(options.add_driver_statistics)),
      blocking_calls_(std::move(blocking_calls)),
      loop_(std::move(loop)),
      table_(table),
      core_(table, std::move(verdicts), MinorsOf(driver_->info())),
      placeholders_(loop_.get(), kPlaceholderTag) {
  if (listener_.valid()) loop_->Poll(listener_.get(), POLLIN, {kListenerTag, 0});
  if (options.supervisor.valid()) Serve(std::move(options.supervisor));
  loop_->Poll(blocking_calls_->fd(), POLLIN, {kBlockingTag, 0});
  if (driver_->signal_fd() >= 0) loop_->Poll(driver_->signal_fd(), POLLIN, {kSignalTag, 0});
}

// ---- The loop ----

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

// A rate may have come. It stays noted for good: frames may wait that came while there was one.
void Worker::NoteRates(GuestId guest) {
  for (auto& [index, connection] : connections_)
    if (connection.guest == guest && connection.port != nullptr)
      connection.port->rated |= core_.HasFrameRate(guest, connection.port->process);
}

// Frames of the guest that wait for their turn ask again when it is.
void Worker::AskAnew(GuestId guest) {
  const uint64_t now_ns = NowNs();
  for (auto& [index, connection] : connections_) {
    if (connection.guest != guest || connection.port == nullptr) continue;
    ProcessPort& port = *connection.port;
    for (uint64_t late = port.late_lanes; late != 0; late &= late - 1)
      port.due_ns[static_cast<size_t>(std::countr_zero(late))] =
          core_.NextFrameNs(guest, port.process, now_ns);
    if (port.late_timer) loop_->Cancel({kLateTag, index});  // it ends at once, and the lanes are looked at
  }
}

// The next frame of the process that is late is due at some time, whether or not somebody rings before.
// Frames fall due in the order in which they came, so one timer for the first of them is enough.
void Worker::WakeForLate(uint32_t index, ProcessPort& port) {
  if (std::exchange(port.late_timer, true)) return;
  uint64_t due_ns = ~uint64_t{0};
  for (uint64_t late = port.late_lanes; late != 0; late &= late - 1)
    due_ns = std::min(due_ns, port.due_ns[static_cast<size_t>(std::countr_zero(late))]);
  const uint64_t now_ns = NowNs();
  const uint64_t wait_ns = due_ns > now_ns ? due_ns - now_ns : 0;
  late_wait_ = TimespecOf(std::chrono::nanoseconds(wait_ns));
  loop_->Timeout(&late_wait_, {kLateTag, index});
  loop_->Submit(false);  // before late_wait_ is somebody else's
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
    if (it->second.port->late_lanes != 0) WakeForLate(index, *it->second.port);
    it->second.port->polled = false;
    return true;
  });
  loop_->Submit(polled_.empty());
}

void Worker::Complete(const Completion& completion) {
  const uint32_t index = completion.tag.index;
  switch (completion.tag.kind) {
    case kListenerTag:
      if (!completion.more) loop_->Poll(listener_.get(), POLLIN, completion.tag);
      return OnListener();
    case kSupervisorTag:
      return OnSupervisor(completion);
    case kChannelTag: {
      OnChannel(index);
      const auto it = connections_.find(index);
      if (!completion.more && it != connections_.end())
        loop_->Poll(it->second.channel(), POLLIN | POLLRDHUP, completion.tag);
      return;
    }
    case kDoorbellTag: {
      const auto it = connections_.find(index);
      if (it == connections_.end() || it->second.port == nullptr || completion.result < 0) return;
      if (!completion.more) {
        // The queue was full. A poll of a bell that still rings would fill it again before anybody is served.
        it->second.port->transport->SilenceDoorbell();
        loop_->Poll(it->second.port->transport->doorbell(), POLLIN, completion.tag);
      }
      if (it->second.port->gpu_doorbell != nullptr) driver_->Ring();
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
    case kSignalTag:
      if (!completion.more) loop_->Poll(driver_->signal_fd(), POLLIN, completion.tag);
      signalled_.clear();
      driver_->TakeSignals(&signalled_);
      for (DriverFileId file : signalled_) Step(FileSignalled{file});
      return;
    case kBlockingTag:
      if (!completion.more) loop_->Poll(blocking_calls_->fd(), POLLIN, completion.tag);
      for (DriverReturned& ended : blocking_calls_->TakeEnded()) Step(std::move(ended));
      return;
    case kLateTag: {
      const auto it = connections_.find(index);
      if (it == connections_.end() || it->second.port == nullptr) return;
      it->second.port->late_timer = false;
      return StartPolling(index, *it->second.port);
    }
    case kReapTag:
      reap_waits_ = false;
      for (const auto& [guest, record] : guests_) ReportIfEmpty(guest);
      return;
    case kAloneTag:
      alone_waits_ = false;
      return EndIfAlone();
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
    if (port.rated) pending = KeepRate(port, pending);
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

uint64_t Worker::KeepRate(ProcessPort& port, uint64_t pending) {
  if ((pending | port.late_lanes) == 0) return 0;
  const uint64_t now_ns = NowNs();
  for (uint64_t fresh = pending & ~port.late_lanes; fresh != 0; fresh &= fresh - 1)
    port.due_ns[static_cast<size_t>(std::countr_zero(fresh))] =
        core_.NextFrameNs(port.guest, port.process, now_ns);
  uint64_t due = 0;
  for (uint64_t late = pending | port.late_lanes; late != 0; late &= late - 1)
    if (port.due_ns[static_cast<size_t>(std::countr_zero(late))] <= now_ns) due |= late & -late;
  port.late_lanes = (pending | port.late_lanes) & ~due;
  return due;
}

// One frame: a guest has one call outstanding per lane. More than that waits for the guest's next word.
void Worker::ServeLane(ProcessPort& port, uint32_t lane) {
  const CallToken token{port.guest, port.process, lane};
  ServerLane& ring = port.lanes[lane];
  switch (ring.Take(&frame_)) {
    case ServerLane::Result::kEmpty:
      return;
    case ServerLane::Result::kCorrupt:
      port.broken = true;
      return;
    case ServerLane::Result::kFrame:
      break;
  }
  guest_shares_cpu_ = port.transport->region().guest_cpu(lane).load(std::memory_order_relaxed) == cpu_;
  if (guest_shares_cpu_ && move_policy_.NoteShared(MovePolicy::Clock::now())) LeaveCpu(cpu_ - 1);
  OpenRequested open;
  switch (frame_.header.kind) {
    case wire::kFrameKindOpen:
      if (!DecodeOpen(frame_, token, &open)) break;
      ring.Finish();
      return Step(open);
    case wire::kFrameKindIoctl:
      if (!DecodeIoctl(frame_, ring, token, port.transport->region(), &request_, &port.places[lane])) break;
      ring.Finish();
      if (!core_.Holds(port.guest, port.process, request_.file_id_untrusted))
        DrainPlaceholder(port.guest, static_cast<FileId>(request_.file_id_untrusted));
      for (const FileReferenceUntrusted& file : request_.files_untrusted)
        if (!core_.Holds(port.guest, port.process, file.file_id))
          DrainPlaceholder(port.guest, static_cast<FileId>(file.file_id));
      return Step(std::move(request_));
    default:
      break;
  }
  port.broken = true;
}

// ---- Actions ----

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
  if (action.may_block) return blocking_calls_->Run(std::move(action));
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
    if (!guests_end.ok())
      LogOfGuest(
          guests_[action.token.guest].name, Severity::kWarning, "a file cannot be handed out",
          {{"guest", static_cast<uint32_t>(action.token.guest)}, {"error", guests_end.status().ToString()}});
    if (port == nullptr || !guests_end.ok() ||
        !port->transport->SendFd(action.token.lane, action.sequence, guests_end->get())) {
      Step(FileHungUp{action.token.guest, action.file});
      action.error = ENOMEM;
      action.file = FileId::kNone;
    }
  }
  if (port == nullptr) return;
  if (!WriteReply(port->lanes[action.token.lane], action)) port->broken = true;
  port->WakeIfWaiting(action.token.lane);
}

// The file that carries the mmap context goes to the guest and is closed here at once: the guest's descriptor
// and its mappings keep what they need alive.
SentFile Worker::SendMapping(ProcessPort& port, const ReplyIoctl& action) {
  const MapResult mapped = driver_->Map(action.mapping != 0 ? action.mapping : action.mappable);
  if (mapped.error != 0)
    return SentFile::kNone;  // the call succeeded without installing a context: nothing to hand out
  const Fd fd(mapped.fd);
  if (!port.transport->SendFd(action.token.lane, action.sequence, fd.get())) return SentFile::kNone;
  if (!mapped.doorbell) return SentFile::kFile;
  if (port.gpu_doorbell == nullptr) {
    port.gpu_doorbell = std::make_unique<PortDoorbell>(port.transport.get());
    driver_->AddDoorbell(port.gpu_doorbell.get());
  }
  return SentFile::kDoorbell;
}

void Worker::Do(ReplyIoctl action) {
  ProcessPort* port = PortOf(action.token);
  if (port != nullptr) {
    const uint32_t lane = action.token.lane;
    const bool with_file = action.mapping != 0 || action.mappable != 0;
    const SentFile sent = with_file ? SendMapping(*port, action) : SentFile::kNone;
    if (!WriteReply(port->lanes[lane], port->transport->region(), action, port->places[lane], sent))
      port->broken = true;
    port->WakeIfWaiting(lane);
  }
  if (action.mapping != 0) driver_->Close(action.mapping);
  request_.call_untrusted = std::move(action.call);  // the buffers, for the next frame
}

void Worker::Do(ClosePlaceholder action) { placeholders_.Close(action.guest, action.file); }

void Worker::Do(SignalFile action) { placeholders_.Signal(action.guest, action.file); }

void Worker::Do(NoteRefusal action) {
  const auto guest = guests_.find(action.guest);
  if (guest == guests_.end()) return;
  if (const auto line = guest->second.refusals.Take(action, NowNs())) TellRefusal(*line);
}

// An audit line: who was refused what, by the last example, and how often.
void Worker::TellRefusal(const RefusalLog::Line& line) {
  const Refusal& refusal = line.note.refusal;
  const std::string status = absl::StrCat("0x", absl::Hex(refusal.status));
  Log(Severity::kInfo, line.note.in_shadow ? "audit: would be refused" : "audit: refused",
      {{"guest", static_cast<uint32_t>(line.note.guest)},
       {"name", guests_[line.note.guest].name},
       {"reason", kReasonNames[static_cast<size_t>(refusal.reason)]},
       {"number", absl::StrCat("0x", absl::Hex(refusal.number))},
       {"answer", refusal.error != 0 ? strerrorname_np(refusal.error) : status.c_str()},
       {"times", line.times},
       {"remedy", RemedyFor(refusal.reason)}});
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
