#include "testing/sim_world/bare_worker.h"

#include <unistd.h>

#include <cerrno>
#include <type_traits>
#include <variant>

namespace nvshim::testing {

using namespace nvshim::broker;  // the subject

BareWorker::BareWorker(const abi::Table& table, Verdicts verdicts, Driver* driver)
    : driver_(driver), core_(&table, std::move(verdicts), {0}) {}

// ---- Events ----

GuestId BareWorker::GuestOf(const Event& event) const {
  return std::visit(
      [&](const auto& one) -> GuestId {
        using Kind = std::decay_t<decltype(one)>;
        if constexpr (std::is_same_v<Kind, FileSignalled>) {
          const GuestId* owner = OwnerOf(one.file);
          return owner == nullptr ? GuestId{} : *owner;
        } else if constexpr (std::is_same_v<Kind, PolicyChanged>) {
          return GuestId{};
        } else if constexpr (requires { one.guest; }) {
          return one.guest;
        } else {
          return one.token.guest;
        }
      },
      event);
}

void BareWorker::Step(Event event) {
  const GuestId guest = GuestOf(event);
  core_.Step(std::move(event), &actions_);
  for (Action& action : actions_) todos_.push_back({guest, std::move(action)});
  actions_.clear();
  if (stepping_) return;
  stepping_ = true;
  for (size_t i = 0; i < todos_.size(); ++i) {
    Todo todo = std::move(todos_[i]);
    Note(todo.action);
    std::visit([&](auto& one) { Do(todo.guest, one); }, todo.action);
  }
  todos_.clear();
  stepping_ = false;
}

ProcessPort& BareWorker::Attach(GuestId guest, ProcessId process) {
  auto& port = ports_[{guest, process}];
  port = std::make_unique<ProcessPort>(guest, process, std::make_unique<LocalTransport>());
  Step(ProcessAttached{guest, process, static_cast<uint32_t>(process)});
  return *port;
}

void BareWorker::Drop(const ProcessKey& key) {
  if (PortOf(key) == nullptr) return;
  Step(ProcessGone{key.first, key.second});
  ports_.erase(key);
}

ProcessPort* BareWorker::PortOf(const ProcessKey& key) {
  const auto it = ports_.find(key);
  return it == ports_.end() ? nullptr : it->second.get();
}

bool BareWorker::ServeLane(ProcessPort& port, uint32_t lane) {
  const CallToken token{port.guest, port.process, lane};
  const auto result = port.broken ? ServerLane::Result::kEmpty : port.lanes[lane].Take(&frame_);
  if (result == ServerLane::Result::kEmpty) return false;
  OpenRequested open;
  if (result == ServerLane::Result::kCorrupt) {
    port.broken = true;
  } else if (frame_.header.kind == wire::kFrameKindOpen && DecodeOpen(frame_, token, &open)) {
    port.lanes[lane].Finish();
    Await(token, open.sequence);
    Step(open);
  } else if (frame_.header.kind == wire::kFrameKindIoctl &&
             DecodeIoctl(frame_, port.lanes[lane], token, port.transport->region(), &request_,
                         &port.places[lane])) {
    port.lanes[lane].Finish();
    if (!core_.Holds(port.guest, port.process, request_.file_id_untrusted))
      Drain(port.guest, static_cast<FileId>(request_.file_id_untrusted));
    for (const FileReferenceUntrusted& file : request_.files_untrusted)
      if (!core_.Holds(port.guest, port.process, file.file_id))
        Drain(port.guest, static_cast<FileId>(file.file_id));
    Await(token, request_.sequence);
    Step(std::move(request_));
  } else {
    port.broken = true;
  }
  return true;
}

// ---- Laws ----

void BareWorker::Expect(bool holds, const char* law) {
  if (!holds) Break(law);
}

// A second call on a lane is none: the first one's number stays.
void BareWorker::Await(const CallToken& token, uint32_t sequence) {
  awaited_.try_emplace({token.guest, token.process, token.lane}, sequence);
}

void BareWorker::TakeAwaited(const CallToken& token, uint32_t sequence) {
  const auto it = awaited_.find({token.guest, token.process, token.lane});
  if (it == awaited_.end()) return Break("a reply to nothing");
  Expect(it->second == sequence, "a reply to another call of the lane");
  awaited_.erase(it);
}

const GuestId* BareWorker::OwnerOf(DriverFileId file) const {
  const auto it = owners_.find(file);
  return it == owners_.end() ? nullptr : &it->second;
}

// ---- Actions ----

OpenResult BareWorker::OpenDriverFile(const DriverOpen& open) {
  const OpenResult result = driver_->Open(open.node, open.flags);
  if (result.error == 0) owners_[result.file] = open.token.guest;
  return result;
}

void BareWorker::Carry(DriverOpen& open) { Step(DriverOpened{open.token, OpenDriverFile(open)}); }

void BareWorker::Carry(DriverIoctl& ioctl) {
  const int error = driver_->Ioctl(ioctl.file, ioctl.call);
  Step(DriverReturned{ioctl.token, error, std::move(ioctl.call)});
}

void BareWorker::Do(GuestId guest, DriverOpen& action) {
  Expect(action.token.guest == guest, "a file opened for another guest");
  Carry(action);
}

void BareWorker::Do(GuestId guest, DriverIoctl& action) {
  Expect(action.token.guest == guest, "a call for another guest");
  const GuestId* owner = OwnerOf(action.file);
  Expect(owner != nullptr && *owner == guest, "a call on a file that is not the guest's");
  for (const CallFile& file : action.call.files) {
    owner = OwnerOf(file.file);
    Expect(owner != nullptr && *owner == guest, "a call that names a file which is not the guest's");
  }
  Carry(action);
}

void BareWorker::Do(GuestId guest, DriverClose& action) {
  const GuestId* owner = OwnerOf(action.file);
  Expect(owner != nullptr && *owner == guest, "closes another guest's file, or one twice");
  owners_.erase(action.file);
  driver_->Close(action.file);
  ClosedAtDriver(action.file);
}

void BareWorker::Do(GuestId guest, ReplyOpen& action) {
  Expect(action.token.guest == guest, "a reply to another guest");
  TakeAwaited(action.token, action.sequence);
  ProcessPort* port = PortOf({action.token.guest, action.token.process});
  if (action.error == 0) {
    Expect(placeholders_.insert({guest, action.file}).second, "a file id in use");
    if (port == nullptr || !HandOver(action.token)) {
      Step(FileHungUp{guest, action.file});
      action.error = ENOMEM;
      action.file = FileId::kNone;
    }
  }
  if (port != nullptr && !WriteReply(port->lanes[action.token.lane], action)) port->broken = true;
  Opened(action);
}

void BareWorker::Do(GuestId guest, ReplyIoctl& action) {
  Expect(action.token.guest == guest, "a reply to another guest");
  TakeAwaited(action.token, action.sequence);
  const uint32_t lane = action.token.lane;
  ProcessPort* port = PortOf({action.token.guest, action.token.process});
  if (port != nullptr) {
    SentFile sent = SentFile::kNone;
    if (action.mapping != 0 || action.mappable != 0) {
      const MapResult mapped = driver_->Map(action.mapping != 0 ? action.mapping : action.mappable);
      if (mapped.error == 0) close(mapped.fd);
      if (mapped.error == 0 && HandOver(action.token)) sent = SentFile::kFile;
    }
    if (!WriteReply(port->lanes[lane], port->transport->region(), action, port->places[lane], sent))
      port->broken = true;
  }
  Answered(action);
  if (action.mapping != 0) {
    DriverClose close{action.mapping};
    Do(guest, close);
  }
  request_.call_untrusted = std::move(action.call);
}

void BareWorker::Do(GuestId guest, ClosePlaceholder& action) {
  Expect(action.guest == guest && placeholders_.erase({guest, action.file}) == 1,
         "closes a placeholder that is not there");
  Closed(action.guest, action.file);
}

void BareWorker::Do(GuestId guest, SignalFile& action) {
  Expect(action.guest == guest && placeholders_.contains({guest, action.file}),
         "signals a file that is not there");
  Signalled(action.guest, action.file);
}

void BareWorker::Do(GuestId guest, NoteRefusal& action) {
  Expect(action.guest == guest, "notes a refusal of another guest's");
}

}  // namespace nvshim::testing
