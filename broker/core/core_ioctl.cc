// The part of the core that judges ioctls: from IoctlRequested to DriverIoctl, from DriverReturned to
// ReplyIoctl, and the refusals on the way.
#include <algorithm>
#include <cerrno>
#include <utility>

#include "broker/core/core.h"
#include "broker/core/exported_objects.h"
#include "broker/core/filter.h"
#include "broker/core/intervene.h"
#include "broker/core/limits.h"
#include "broker/core/rm_calls.h"
#include "broker/core/translate.h"

namespace nvshim::broker {
namespace {

// O_RDWR of Linux: a mapping's own file is mapped for writing, whatever the guest's flags were.
constexpr uint32_t kReadWrite = 2;

// What a lane needs only during a call.
void GiveBack(PendingCall& pending) {
  pending.charges.Release();
  pending.bytes.Release();
  if (pending.original.capacity() > kKeptBytesPerLaneMax) std::vector<uint8_t>().swap(pending.original);
}

bool IsRegisterFd(const File& file, const PendingCall& pending) {
  const DeviceClass device_class = file.node.device_class;
  return (device_class == DeviceClass::kGpu || device_class == DeviceClass::kCtl) &&
         pending.checked.spec->number == NV_ESC_REGISTER_FD;
}

// A driver registers a file once; what says otherwise does not count twice.
void Register(Guest& guest, File& file, FileId ctl) {
  if (file.registered_ctl != FileId::kNone) return;
  file.registered_ctl = ctl;
  ++guest.files.Find(ctl)->registrants;
}

// Memory of the guest's own: no fd is named, but a file with the mmap context has to go back, whose pages
// take the place of the guest's.
bool RegistersHostMemory(const File& file, const CheckedCall& checked, const DriverCall& call) {
  return file.node.device_class == DeviceClass::kGpu && checked.spec->number == NV_ESC_RM_ALLOC_MEMORY &&
         Get<uint32_t>(call.Bytes(0), kClassOffset) == NV01_MEMORY_SYSTEM_OS_DESCRIPTOR;
}

bool IsFiltered(const CheckedCall& checked) {
  return checked.verdict == Verdict::kFilter || checked.verdict == Verdict::kShadow;
}

// From here on the guest may map the file, at any time and without a further call.
// NV_ESC_CHECK_VERSION_STR, which all of NVIDIA's libraries begin with.
bool IsVersionCheck(const File& file, const PendingCall& pending) {
  return file.node.device_class == DeviceClass::kCtl &&
         pending.checked.spec->number == abi::kCheckVersionStrNumber;
}

bool IsUvmInitialize(const File& file, const PendingCall& pending) {
  return file.node.device_class == DeviceClass::kUvm && pending.checked.spec->number == UVM_INITIALIZE;
}

}  // namespace

void Core::On(IoctlRequested event, Actions* actions) {
  Guest* guest;
  Process* process;
  PendingCall* pending;
  if (!FindIdleCall(event.token, &guest, &process, &pending)) return;
  ++guest->counters.ioctls;
  DriverCall call = std::move(event.call_untrusted);
  Account& account = *process->account;
  const auto refuse_unread = [&](Resource resource) {
    const Refusal refusal = OverLimit(resource, account.limit(resource));
    Note(*guest, event.token.guest, refusal, actions);
    Refuse(event.token, event.sequence, refusal, {}, {}, std::move(call), actions);
  };
  if (pending == nullptr) return refuse_unread(Resource::kLanes);
  pending->bytes = account.Take(Resource::kCallBytes, call.buffer.size());
  if (!pending->bytes) return refuse_unread(Resource::kCallBytes);
  pending->original = call.buffer;
  pending->checked = {};
  const auto refuse = [&](const Refusal& refusal) {
    Note(*guest, event.token.guest, refusal, actions);
    Refuse(event.token, event.sequence, refusal, pending->checked, pending->original, std::move(call),
           actions);
    GiveBack(*pending);
  };
  File* file = guest->files.FindHeldBy(static_cast<FileId>(event.file_id_untrusted), event.token.process);
  if (file == nullptr) return refuse(Refusal::Errno(Reason::kUnknownFile, ENODEV, event.file_id_untrusted));
  if (auto refusal = Prepare(*guest, account, event, *file, *pending, call)) return refuse(*refusal);
  if (pending->checked.would_be_denied) NoteShadow(*guest, event.token.guest, pending->checked, actions);
  if (pending->checked.verdict == Verdict::kAnswer) {
    if (auto refusal = AnswerControl(guest->handles, pending->checked, pending->original, call))
      return refuse(*refusal);
    actions->push_back(ReplyIoctl{event.token, event.sequence, 0, true, std::move(call)});
    return GiveBack(*pending);
  }
  if (pending->checked.verdict == Verdict::kClamp) ClampArguments(pending->checked, call);

  pending->sequence = event.sequence;
  pending->file = file->id;
  ++process->calls_in_flight;
  ++file->calls_in_flight;
  if (pending->wants_mapping) {
    pending->stage = PendingCall::Stage::kOpeningMapping;
    pending->call = std::move(call);
    // The guest maps it for reading and writing, whatever its own fd was opened for.
    actions->push_back(DriverOpen{event.token, guest->files.Find(pending->named_file)->node, kReadWrite});
    return;
  }
  if (File* named = guest->files.Find(pending->named_file)) ++named->calls_in_flight;
  SendToDriver(*guest, *file, event.token, *pending, std::move(call), actions);
}

std::optional<Refusal> Core::Prepare(Guest& guest, Account& account, const IoctlRequested& event, File& file,
                                     PendingCall& pending, DriverCall& call) {
  pending.checked = CheckRequest(*table_, verdicts_, file.node.device_class, call);
  if (pending.checked.refusal) return pending.checked.refusal;
  const bool makes_client = MakesClient(pending.checked);
  uint32_t wanted_client = 0;
  if (auto refusal = ToDriver(guest.handles, file, pending.checked, call, &wanted_client)) return refusal;
  if (makes_client) {
    const bool taken =
        !guest.handles.IsFree(static_cast<ClientHandle>(wanted_client)) || IsNumberedByDriver(wanted_client);
    if (wanted_client != 0 && taken)
      return Refusal::Status(Reason::kUnknownClient, NV_ERR_INSERT_DUPLICATE_NAME, wanted_client);
    pending.new_client = static_cast<ClientHandle>(wanted_client);
  }
  if (auto refusal = AttachFiles(guest, event, file, pending, call)) return refusal;
  if (pending.named_file != FileId::kNone && IsAboutExports(pending.checked))
    return PrepareExports(guest, account, pending, call);
  if (!makes_client && !MakesObject(pending.checked, call)) return std::nullopt;
  return TakeCharges(account, makes_client ? Resource::kClients : Resource::kObjects, call, pending);
}

std::optional<Refusal> Core::PrepareExports(Guest& guest, Account& account, PendingCall& pending,
                                            DriverCall& call) {
  const File& file = *guest.files.Find(pending.named_file);
  if (auto refusal = CheckExports(pending.checked, pending.original, file, call)) return refusal;
  const uint32_t objects = ObjectsMoved(pending.checked, pending.original, call);
  if (objects == 0) return std::nullopt;
  pending.charges.object = account.Take(Resource::kObjects, objects);
  if (pending.charges.object) return std::nullopt;
  return OverLimit(Resource::kObjects, account.limit(Resource::kObjects));
}

std::optional<Refusal> Core::TakeCharges(Account& account, Resource made, const DriverCall& call,
                                         PendingCall& pending) {
  const CheckedCall& checked = pending.checked;
  const auto take = [&](Resource resource, uint64_t amount, Charge* charge) {
    *charge = account.Take(resource, amount);
    return *charge ? std::nullopt : std::optional(OverLimit(resource, account.limit(resource)));
  };
  if (auto refusal = take(made, 1, &pending.charges.object)) return refusal;
  if (IsEscape(checked, NV_ESC_RM_ALLOC) && IsChannelClass(checked.nested->number))
    if (auto refusal = take(Resource::kChannels, 1, &pending.charges.channel)) return refusal;
  const auto asked = MemoryOf(checked, call);
  if (!asked) return std::nullopt;
  Charge memory;
  if (auto refusal = take(asked->resource, asked->size_bytes, &memory)) return refusal;
  pending.charges.memory = std::make_shared<Charge>(std::move(memory));
  return std::nullopt;
}

// Turns the file references into driver files, each where the spec has an fd field; others are not passed on.
std::optional<Refusal> Core::AttachFiles(Guest& guest, const IoctlRequested& event, File& file,
                                         PendingCall& pending, DriverCall& call) {
  call.files.clear();
  pending.named_file = FileId::kNone;
  pending.wants_mapping = false;
  const CheckedCall& checked = pending.checked;
  for (const abi::FdField& fd : checked.spec->fds)
    if (auto refusal = AttachFile(guest, event, 0, fd, pending, call)) return refusal;
  if (checked.nested_segment != 0)
    for (const abi::FdField& fd : checked.nested->fds)
      if (auto refusal = AttachFile(guest, event, checked.nested_segment, fd, pending, call)) return refusal;
  if (RegistersHostMemory(file, pending.checked, call)) {
    call.files.clear();
    pending.wants_mapping = true;
    pending.named_file = file.id;  // a fresh one of the same node
    pending.fd_offset = kMemoryFdOffset;
  }
  if (IsRegisterFd(file, pending)) {
    const File* ctl = guest.files.Find(pending.named_file);
    if (ctl == &file || ctl->node.device_class != DeviceClass::kCtl || ctl->registered_ctl != FileId::kNone)
      return Refusal::Errno(Reason::kUnknownFile, EINVAL, call.command);
  }
  return std::nullopt;
}

std::optional<Refusal> Core::AttachFile(Guest& guest, const IoctlRequested& event, uint32_t segment,
                                        const abi::FdField& fd, PendingCall& pending, DriverCall& call) {
  if (fd.use == abi::FdUse::kCookie) return std::nullopt;
  // The guest's number means nothing to the driver; where no file is passed it must not mean one of the
  // broker's.
  Put<uint32_t>(call.Bytes(segment), fd.offset, 0xffffffff);
  if (fd.use == abi::FdUse::kIgnored) return std::nullopt;
  const auto reference = std::find_if(event.files_untrusted.begin(), event.files_untrusted.end(),
                                      [&](const FileReferenceUntrusted& one) {
                                        return one.segment == segment && one.field_offset == fd.offset;
                                      });
  // The status of controls for what is no file of theirs (nv_get_file_private).
  const auto unknown = [&](uint32_t number) {
    return segment == 0 ? Refusal::Errno(Reason::kUnknownFile, EINVAL, number)
                        : Refusal::Status(Reason::kUnknownFile, NV_ERR_INVALID_PARAMETER, number);
  };
  if (reference == event.files_untrusted.end())
    return fd.use == abi::FdUse::kFile
               ? std::optional(unknown(segment == 0 ? call.command : pending.checked.nested->number))
               : std::nullopt;
  const File* named = guest.files.FindHeldBy(static_cast<FileId>(reference->file_id), event.token.process);
  if (named == nullptr) return unknown(reference->file_id);
  call.files.push_back({segment, fd.offset, named->driver_file});
  pending.named_file = named->id;
  pending.wants_mapping = fd.use == abi::FdUse::kMapping;
  pending.fd_offset = fd.offset;
  return std::nullopt;
}

void Core::SendToDriver(Guest& guest, File& file, const CallToken& token, PendingCall& pending,
                        DriverCall call, Actions* actions) {
  ++guest.counters.driver_calls;
  pending.stage = PendingCall::Stage::kCalling;
  const bool may_block = pending.checked.spec->may_block ||
                         (pending.checked.nested != nullptr && pending.checked.nested->may_block);
  actions->push_back(DriverIoctl{token, file.driver_file, std::move(call), may_block});
}

void Core::FinishOpenMapping(Guest& guest, const CallToken& token, Process& process, PendingCall& pending,
                             OpenResult result, Actions* actions) {
  const bool current = IsCurrent(guest.handles, pending.checked, pending.original, pending.call);
  if (result.error == 0 && current) {
    pending.mapping = result.file;
    pending.call.files = {{0, pending.fd_offset, result.file}};
    return SendToDriver(guest, *guest.files.Find(pending.file), token, pending, std::move(pending.call),
                        actions);
  }
  if (result.error == 0) actions->push_back(DriverClose{result.file});
  const Refusal refusal =
      result.error == 0 ? Refusal::Status(Reason::kUnknownClient, NV_ERR_INVALID_CLIENT, pending.call.command)
                        : Refusal::Errno(Reason::kUnknownFile, result.error, pending.call.command);
  Refuse(token, pending.sequence, refusal, pending.checked, pending.original, std::move(pending.call),
         actions);
  EndUse(guest, token.guest, pending.file, actions);
  EndCall(guest, token, process, pending);
}

void Core::On(DriverReturned event, Actions* actions) {
  Guest* guest;
  Process* process;
  PendingCall* pending = FindCall(event.token, &guest, &process);
  if (pending == nullptr || pending->stage != PendingCall::Stage::kCalling) return;
  File* file = guest->files.Find(pending->file);
  const bool succeeded = Succeeded(pending->checked, event.error, event.call);
  if (succeeded) {
    if (MakesClient(pending->checked))
      pending->new_client = guest->handles.ChooseClient(static_cast<uint32_t>(pending->new_client));
    if (pending->charges.memory != nullptr)
      if (const auto given = MemoryOf(pending->checked, event.call))
        pending->charges.memory->GrowTo(given->size_bytes);
    if (IsFiltered(pending->checked))
      FilterAnswer(guest->handles, *process->account, pending->checked, pending->original, event.call);
    Record(guest->handles, pending->checked, pending->original,
           {file->id, process->pid_untrusted, pending->new_client, &pending->charges}, event.call);
    if (IsRegisterFd(*file, *pending)) Register(*guest, *file, pending->named_file);
  }
  if (event.error == EINVAL && IsVersionCheck(*file, *pending))
    Note(*guest, event.token.guest,
         Refusal::Errno(Reason::kOtherVersion, EINVAL, abi::kCheckVersionStrNumber), actions);
  if (pending->named_file != FileId::kNone && IsAboutExports(pending->checked))
    FinishExports(*guest, *pending, succeeded, event.call);
  ToGuest(pending->checked, pending->original, succeeded, event.call);
  if (pending->checked.verdict == Verdict::kClamp)
    RestoreArguments(pending->checked, pending->original, event.call);
  ReplyIoctl reply{event.token, pending->sequence, event.error, true, std::move(event.call)};
  if (pending->mapping != 0) {
    if (succeeded && !process->gone) {
      reply.mapping = pending->mapping;
      reply.replace_field_offset = pending->fd_offset;
    } else {
      actions->push_back(DriverClose{pending->mapping});
    }
  }
  if (succeeded && !process->gone && IsUvmInitialize(*file, *pending)) reply.mappable = file->driver_file;
  actions->push_back(std::move(reply));
  if (!pending->wants_mapping) EndUse(*guest, event.token.guest, pending->named_file, actions);
  EndUse(*guest, event.token.guest, pending->file, actions);
  EndCall(*guest, event.token, *process, *pending);
}

void Core::FinishExports(Guest& guest, PendingCall& pending, bool succeeded, DriverCall& call) {
  File& file = *guest.files.Find(pending.named_file);
  if (succeeded)
    RecordExports(guest.handles, pending.checked, pending.original, file, call, pending.charges.object);
  RestoreExports(pending.checked, pending.original, file, call);
}

void Core::EndCall(Guest& guest, const CallToken& token, Process& process, PendingCall& pending) {
  pending.stage = PendingCall::Stage::kFree;
  pending.mapping = 0;
  pending.wants_mapping = false;
  GiveBack(pending);
  if (--process.calls_in_flight == 0 && process.gone) guest.processes.erase(token.process);
}

// ---- Refusals ----

void Core::Refuse(const CallToken& token, uint32_t sequence, const Refusal& refusal,
                  const CheckedCall& checked, const std::vector<uint8_t>& original, DriverCall call,
                  Actions* actions) {
  ReplyIoctl reply{token, sequence, refusal.error, false, std::move(call)};
  if (refusal.error == 0) {
    reply.call.buffer = original;
    if (checked.spec != nullptr && checked.spec->status_offset != abi::kNone) {
      Put<uint32_t>(reply.call.Bytes(0), checked.spec->status_offset, refusal.status);
      reply.with_segments = true;
    } else {
      reply.error = EINVAL;
    }
  }
  actions->push_back(std::move(reply));
}

void Core::Note(Guest& guest, GuestId id, const Refusal& refusal, Actions* actions) {
  ++guest.counters.refusals[static_cast<size_t>(refusal.reason)];
  actions->push_back(NoteRefusal{id, refusal});
}

void Core::NoteShadow(Guest& guest, GuestId id, const CheckedCall& checked, Actions* actions) {
  ++guest.counters.would_be_denied;
  const uint32_t number = (checked.nested != nullptr ? checked.nested : checked.spec)->number;
  actions->push_back(NoteRefusal{id, Refusal::Errno(Reason::kDeniedByPolicy, 0, number), true});
}

}  // namespace nvshim::broker
