#include "broker/core/core.h"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "broker/core/limits.h"

namespace nvshim::broker {
namespace {

// O_ACCMODE and O_NONBLOCK of Linux, as numbers: frames carry them so.
constexpr uint32_t kAccessModeMask = 3;
constexpr uint32_t kNonBlocking = 04000;

// What of the flags of a guest's open means something for a device file. The rest (O_CREAT, O_PATH, O_TRUNC
// ...) would only mean something to the broker's own open.
constexpr uint32_t kOpenFlagsMask = kAccessModeMask | kNonBlocking;

bool IsKnownClass(uint32_t device_class) {
  return device_class >= static_cast<uint32_t>(DeviceClass::kCtl) &&
         device_class <= static_cast<uint32_t>(DeviceClass::kUvmTools);
}

}  // namespace

Core::Core(const abi::Table* table, Verdicts verdicts, std::vector<uint32_t> gpu_minors)
    : table_(table), verdicts_(std::move(verdicts)), gpu_minors_(std::move(gpu_minors)) {}

Core::Core(const abi::Table* table, std::vector<uint32_t> gpu_minors)
    : Core(table, Verdicts::OfTable(*table), std::move(gpu_minors)) {}

void Core::Step(Event event, std::vector<Action>* actions) {
  std::visit([&](auto& one) { On(std::move(one), actions); }, event);
}

Guest* Core::FindGuest(GuestId guest) {
  const auto it = guests_.find(guest);
  return it == guests_.end() ? nullptr : it->second.get();
}

PendingCall* Core::FindCall(const CallToken& token, Guest** guest, Process** process) {
  *process = nullptr;
  *guest = FindGuest(token.guest);
  if (*guest == nullptr || token.lane >= wire::kLaneCount) return nullptr;
  const auto it = (*guest)->processes.find(token.process);
  if (it == (*guest)->processes.end()) return nullptr;
  *process = it->second.get();
  return it->second->calls[token.lane].get();
}

bool Core::FindIdleCall(const CallToken& token, Guest** guest, Process** process, PendingCall** pending) {
  *pending = FindCall(token, guest, process);
  if (*guest == nullptr || *process == nullptr || (*process)->gone) return false;
  if (*pending == nullptr) *pending = (*process)->OnLane(token.lane);
  return *pending == nullptr || (*pending)->stage == PendingCall::Stage::kFree;
}

bool Core::Holds(GuestId guest, ProcessId process, uint32_t file_id_untrusted) {
  Guest* state = FindGuest(guest);
  return state != nullptr &&
         state->files.FindHeldBy(static_cast<FileId>(file_id_untrusted), process) != nullptr;
}

GuestStatisticsView Core::Statistics(GuestId guest) const {
  const auto it = guests_.find(guest);
  if (it == guests_.end()) return {};
  const Guest& state = *it->second;
  return {state.processes.size(),
          state.files.size(),
          state.handles.clients(),
          state.objects(),
          state.ledger.used()[Resource::kVideoMemory],
          state.ledger.limits(),
          state.ledger.used(),
          state.ledger.refused(),
          state.counters};
}

uint64_t Core::NextFrameNs(GuestId guest, ProcessId process, uint64_t now_ns) {
  Account* account = FindAccount(guest, process);
  return account == nullptr ? now_ns : account->NextFrameNs(now_ns);
}

bool Core::HasFrameRate(GuestId guest, ProcessId process) {
  const Account* account = FindAccount(guest, process);
  return account != nullptr && account->HasFrameRate();
}

bool Core::IsAttached(GuestId guest, ProcessId process) { return FindAccount(guest, process) != nullptr; }

Account* Core::FindAccount(GuestId guest, ProcessId process) {
  const Guest* state = FindGuest(guest);
  if (state == nullptr) return nullptr;
  const auto it = state->processes.find(process);
  return it == state->processes.end() ? nullptr : it->second->account;
}

// ---- Guests and processes ----

void Core::On(GuestAdded event, Actions*) {
  guests_.try_emplace(event.guest, std::make_unique<Guest>(event.limits));
}

Account& Core::AccountOf(Guest& guest, uint32_t uid) {
  std::unique_ptr<Account>& account = guest.accounts[uid];
  if (account == nullptr) account = std::make_unique<Account>(&guest.ledger);
  return *account;
}

void Core::On(UidAdded event, Actions*) {
  Guest* guest = FindGuest(event.guest);
  if (guest == nullptr) return;
  AccountOf(*guest, event.uid).Join(std::move(event.level));
}

void Core::On(LimitsChanged event, Actions*) {
  Guest* guest = FindGuest(event.guest);
  if (guest == nullptr) return;
  guest->ledger.SetLimits(event.limits);
  for (auto& [uid, account] : guest->accounts) account->RefillUidFrames();
}

void Core::On(PolicyChanged event, Actions*) { verdicts_ = std::move(event.verdicts); }

void Core::On(GuestRemoved event, Actions*) {
  const Guest* guest = FindGuest(event.guest);
  if (guest != nullptr && guest->processes.empty() && guest->files.size() == 0) guests_.erase(event.guest);
}

void Core::On(ProcessAttached event, Actions*) {
  Guest* guest = FindGuest(event.guest);
  if (guest == nullptr) return;
  if (guest->processes.contains(event.process)) return;
  Account& account = AccountOf(*guest, event.uid);
  auto process = std::make_unique<Process>();
  process->charge = account.Take(Resource::kProcesses, 1);
  if (!process->charge) return;
  process->account = &account;
  process->pid_untrusted = event.pid_untrusted;
  guest->processes.emplace(event.process, std::move(process));
}

void Core::On(ProcessGone event, Actions*) {
  Guest* guest = FindGuest(event.guest);
  if (guest == nullptr) return;
  const auto it = guest->processes.find(event.process);
  if (it == guest->processes.end()) return;
  guest->files.ForgetProcess(event.process);
  it->second->gone = true;
  if (it->second->calls_in_flight == 0) guest->processes.erase(it);
}

// ---- Open ----

void Core::On(OpenRequested event, Actions* actions) {
  Guest* guest;
  Process* process;
  PendingCall* pending;
  if (!FindIdleCall(event.token, &guest, &process, &pending)) return;
  ++guest->counters.opens;
  const auto refuse = [&](const Refusal& refusal) {
    Note(*guest, event.token.guest, refusal, actions);
    actions->push_back(ReplyOpen{event.token, event.sequence, refusal.error, FileId::kNone, {}});
  };
  const auto over = [&](Resource resource) {
    refuse(OverLimit(resource, process->account->limit(resource)));
  };
  if (pending == nullptr) return over(Resource::kLanes);
  const auto device_class = static_cast<DeviceClass>(event.device_class_untrusted);
  const bool is_gpu = IsKnownClass(event.device_class_untrusted) && device_class == DeviceClass::kGpu;
  const bool seen = is_gpu ? std::count(gpu_minors_.begin(), gpu_minors_.end(), event.minor_untrusted) != 0
                           : event.minor_untrusted == 0;
  if (!IsKnownClass(event.device_class_untrusted) || !seen)
    return refuse(Refusal::Errno(Reason::kUnknownDevice, ENODEV, event.minor_untrusted));
  Charge charge = process->account->Take(Resource::kFiles, 1);
  if (!charge) return over(Resource::kFiles);
  File* file =
      guest->files.Reserve({device_class, event.minor_untrusted}, event.token.process, std::move(charge));
  if (file == nullptr) return over(Resource::kFiles);
  pending->stage = PendingCall::Stage::kOpening;
  pending->sequence = event.sequence;
  pending->file = file->id;
  ++process->calls_in_flight;
  ++file->calls_in_flight;
  actions->push_back(DriverOpen{event.token, file->node, event.flags_untrusted & kOpenFlagsMask});
}

void Core::On(DriverOpened event, Actions* actions) {
  Guest* guest;
  Process* process;
  PendingCall* pending = FindCall(event.token, &guest, &process);
  if (pending == nullptr) return;
  if (pending->stage == PendingCall::Stage::kOpening) {
    FinishOpen(*guest, event.token, *process, *pending, event.result, actions);
    EndCall(*guest, event.token, *process, *pending);
  } else if (pending->stage == PendingCall::Stage::kOpeningMapping) {
    FinishOpenMapping(*guest, event.token, *process, *pending, event.result, actions);
  }
}

void Core::FinishOpen(Guest& guest, const CallToken& token, const Process& process, PendingCall& pending,
                      OpenResult result, Actions* actions) {
  File* file = guest.files.Find(pending.file);
  if (result.error == 0 && process.gone) {
    actions->push_back(DriverClose{result.file});
    result.error = ENODEV;
  }
  --file->calls_in_flight;
  if (result.error != 0) {
    guest.files.Remove(pending.file);
    actions->push_back(ReplyOpen{token, pending.sequence, result.error, FileId::kNone, {}});
    return;
  }
  file->driver_file = result.file;
  owners_[result.file] = {token.guest, file->id};
  actions->push_back(ReplyOpen{token, pending.sequence, 0, file->id, file->node});
}

// ---- Files ----

void Core::On(FileClaimed event, Actions*) {
  Guest* guest = FindGuest(event.guest);
  if (guest == nullptr) return;
  File* file = guest->files.Find(event.file);
  const auto process = static_cast<ProcessId>(event.process_untrusted);
  const auto it = guest->processes.find(process);
  if (file != nullptr && it != guest->processes.end() && !it->second->gone) file->holders.insert(process);
}

void Core::On(FileHungUp event, Actions* actions) {
  Guest* guest = FindGuest(event.guest);
  File* file = guest == nullptr ? nullptr : guest->files.Find(event.file);
  if (file == nullptr) return;
  file->hung_up = true;
  CloseIfIdle(*guest, event.guest, *file, actions);
}

void Core::On(FileSignalled event, Actions* actions) {
  const auto owner = owners_.find(event.file);
  if (owner != owners_.end()) actions->push_back(SignalFile{owner->second.guest, owner->second.file});
}

void Core::EndUse(Guest& guest, GuestId id, FileId file, Actions* actions) {
  File* used = guest.files.Find(file);
  if (used == nullptr) return;
  --used->calls_in_flight;
  CloseIfIdle(guest, id, *used, actions);
}

// The kernel module holds a reference from a registered file to its ctl file, so the clients of a ctl file
// that the guest has closed live as long as a file that is registered to it.
void Core::CloseIfIdle(Guest& guest, GuestId id, File& file, Actions* actions) {
  if (!file.hung_up || file.calls_in_flight != 0 || file.registrants != 0) return;
  const FileId registered_ctl = file.registered_ctl;
  guest.handles.FreeClientsOf(file.id);
  owners_.erase(file.driver_file);
  actions->push_back(DriverClose{file.driver_file});
  actions->push_back(ClosePlaceholder{id, file.id});
  guest.files.Remove(file.id);
  File* ctl = guest.files.Find(registered_ctl);
  if (ctl == nullptr) return;
  --ctl->registrants;
  CloseIfIdle(guest, id, *ctl, actions);
}

}  // namespace nvshim::broker
