#include "preload/device_file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>

#include "preload/call.h"
#include "preload/log.h"
#include "preload/os_events.h"
#include "preload/placeholder.h"
#include "preload/process.h"
#include "preload/register_host_memory.h"

namespace nvshim::preload {

namespace {

// The escapes begin at NV_ESC_RM_ALLOC_MEMORY (nv_escape.h); frame buffers use lower numbers of the same
// type.
constexpr uint32_t kEscapeNumberMin = 0x27;

// UVM's request numbers are bare (uvm_ioctl.h, uvm_linux_ioctl.h): 1 to a hundred or so, 2047, and these two.
constexpr uint32_t kUvmNumberMax = 0x7ff;
constexpr uint32_t kUvmInitialize = 0x30000001;
constexpr uint32_t kUvmDeinitialize = 0x30000002;

// One open file of the worker.
struct File {
  DeviceClass device_class = DeviceClass::kNone;
  uint32_t file_id = 0;
};

enum class Owner {
  kForeign,  // not a device file, or none of our doing
  kOurs,
  kGone,  // a device file whose worker is dead, or of a guest that this process is not part of
};

Owner FindInTable(int fd, File* file) {
  const FdTable::Entry entry = fd_table().Get(fd);
  if (entry.byte == FdTable::kUnknown || entry.byte >= FdTable::kDoorbellPage) return Owner::kForeign;
  if (IdentityOfFd(fd) != entry.identity) {  // the number was given to another file behind our back
    fd_table().Clear(fd);
    return Owner::kForeign;
  }
  *file = {static_cast<DeviceClass>(entry.byte), entry.file_id};
  return Owner::kOurs;
}

// For a file that this process did not open itself, or not under this number: asks the kernel, and tells the
// worker.
Owner Recognise(int fd, File* file) {
  Placeholder placeholder;
  if (!ReadPlaceholder(fd, &placeholder)) return Owner::kForeign;
  // A dead worker's files are no reason to ask for a new worker.
  if (PlaceholderIsDead(fd)) return Owner::kGone;
  int error;
  Session* const session = Attach(&error);
  if (session == nullptr || placeholder.guest_instance != session->welcome.guest_instance)
    return Owner::kGone;
  if (!ClaimPlaceholder(fd, session->welcome.process_id)) return Owner::kGone;
  *file = {placeholder.device_class, placeholder.file_id};
  fd_table().Set(fd, {static_cast<uint8_t>(file->device_class), IdentityOfFd(fd), file->file_id});
  return Owner::kOurs;
}

// Requires OwnsState(). Leaves errno alone.
Owner FindFile(int fd, File* file) {
  const Owner owner = FindInTable(fd, file);
  return owner == Owner::kOurs ? owner : Recognise(fd, file);
}

// Requests that the kernel answers for every kind of file, before any driver sees them.
bool IsForEveryFile(uint32_t request) {
  return request == FIOCLEX || request == FIONCLEX || request == FIONBIO || request == FIOASYNC;
}

// The fds of the call that the worker needs as files. An fd that is not a device file is left out: "no file".
uint32_t ReferFiles(const GatheredCall& call, FileReference* files) {
  uint32_t count = 0;
  for (uint32_t i = 0; i < call.fd_count; ++i) {
    const FdSite& site = call.fds[i];
    if (site.use != abi::FdUse::kFile && site.use != abi::FdUse::kMapping) continue;
    File file;
    if (site.fd < 0 || FindFile(site.fd, &file) != Owner::kOurs) continue;
    files[count++] = {site.buffer, site.offset, file.file_id};
  }
  return count;
}

const FdSite* FindSite(const GatheredCall& call, const IoctlOutcome& outcome) {
  for (uint32_t i = 0; i < call.fd_count; ++i) {
    const FdSite& site = call.fds[i];
    if (site.buffer == outcome.replace_segment && site.offset == outcome.replace_field_offset &&
        site.use != abi::FdUse::kIgnored) {
      return &site;
    }
  }
  return nullptr;
}

// Puts a received file, which is to be mapped, onto the fd number that the call named, keeping the number's
// FD_CLOEXEC. It is no longer a device file to us.
void Replace(const FdSite& site, int received_fd, bool doorbell) {
  const long fd_flags = Syscall(SYS_fcntl, site.fd, F_GETFD);
  if (fd_flags < 0) return;  // closed meanwhile by another thread: there is nothing to replace
  Syscall(SYS_dup3, received_fd, site.fd, (fd_flags & FD_CLOEXEC) != 0 ? O_CLOEXEC : 0);
  if (doorbell)
    fd_table().Set(site.fd, {FdTable::kDoorbellPage, IdentityOfFd(site.fd), 0});
  else
    fd_table().Clear(site.fd);
}

bool MadeOsEvent(const File& file, uint32_t request, int error) {
  return error == 0 && (file.device_class == DeviceClass::kCtl || file.device_class == DeviceClass::kGpu) &&
         abi::IsEscape(request, abi::kAllocOsEventNumber);
}

// Remembers the ctl file to which a GPU file was registered.
void NoteRegistration(Session& session, uint32_t request, std::span<const FileReference> files) {
  if (abi::IsEscape(request, abi::kRegisterFdNumber) && !files.empty())
    session.registered_ctl.store(files[0].file_id, std::memory_order_relaxed);
}

constinit std::atomic<bool> g_told_gone{false}, g_told_version{false};

void TellGone() {
  LogOnce(g_told_gone,
          {"the GPU is gone: the broker, or this guest's worker, has ended, and its log says why; "
           "start the program again"});
}

// NVIDIA's libraries begin with this question, and end with it when the answer is no.
void TellVersion(const Session& session, const File& file, uint32_t request, int error) {
  if (error == EINVAL && file.device_class == DeviceClass::kCtl &&
      abi::IsEscape(request, abi::kCheckVersionStrNumber))
    LogOnce(g_told_version, {"no GPU: NVIDIA's library here is of another version than the broker's driver, ",
                             session.welcome.driver_version, "; install that of the same version"});
}

Answer ForwardIoctl(Session& session, const File& file, uint32_t request, void* argument) {
  GatheredCall call;
  if (const int error = Gather(*session.table, file.device_class, request, argument, &call); error != 0)
    return Fail(error);
  if (file.device_class == DeviceClass::kGpu && RegistersHostMemory(call))
    return RegisterHostMemory(session, file.file_id, call);
  FileReference files[wire::kFilesPerCallMax];
  const uint32_t file_count = ReferFiles(call, files);
  const IoctlOutcome outcome = CallIoctl(session, file.file_id, call, {files, file_count});
  if (session.channel.lost()) TellGone();
  TellVersion(session, file, request, outcome.error);
  if (MadeOsEvent(file, request, outcome.error)) NoteOsEvent();
  if (outcome.error == 0) NoteRegistration(session, request, {files, file_count});
  if (outcome.received_fd >= 0) {
    if (outcome.replace_segment == wire::kReplaceNothing && file.device_class == DeviceClass::kUvm) {
      Park(outcome.received_fd);
      mappable_files().Keep(file.file_id, outcome.received_fd);
      return AnswerOf(outcome.error);
    }
    if (const FdSite* site = FindSite(call, outcome)) Replace(*site, outcome.received_fd, outcome.doorbell);
    CloseFd(outcome.received_fd);
  }
  return AnswerOf(outcome.error);
}

// The flags with which a character device that exists cannot be opened.
int CheckOpenFlags(int flags) {
  if ((flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL)) return EEXIST;
  return (flags & O_DIRECTORY) != 0 ? ENOTDIR : 0;  // O_TMPFILE contains O_DIRECTORY
}

}  // namespace

bool LooksLikeNvidia(uint32_t request) {
  if (abi::IocType(request) == abi::kEscapeType) return abi::IocNumber(request) >= kEscapeNumberMin;
  return request <= kUvmNumberMax || request == kUvmInitialize || request == kUvmDeinitialize;
}

Answer OpenDevice(const PathInfo& path, int flags) {
  if (!OwnsState()) return {};
  if (path.device_class == DeviceClass::kNone) return Fail(ENOENT);
  int error;
  Session* const session = Attach(&error);
  if (session == nullptr) return Fail(error);
  if (path.device_class == DeviceClass::kGpu && !session->HasGpu(path.minor)) return Fail(ENOENT);
  if (const int refused = CheckOpenFlags(flags); refused != 0) return Fail(refused);
  const OpenOutcome outcome = CallOpen(
      *session, {static_cast<uint32_t>(path.device_class), path.minor, static_cast<uint32_t>(flags)});
  if (outcome.error != 0) return Fail(outcome.error);
  if ((flags & O_CLOEXEC) == 0) Syscall(SYS_fcntl, outcome.fd, F_SETFD, 0);
  fd_table().Set(outcome.fd,
                 {static_cast<uint8_t>(path.device_class), IdentityOfFd(outcome.fd), outcome.file_id});
  return Succeed(outcome.fd);
}

Answer IoctlDevice(int fd, uint32_t request, void* argument) {
  if (IsForEveryFile(request) || !OwnsState()) return {};
  File file;
  Owner owner = FindFile(fd, &file);
  if (owner == Owner::kForeign) return {};
  Session* session = CurrentSession();
  if (owner == Owner::kOurs && session != nullptr && session->channel.lost()) {
    fd_table().Clear(
        fd);  // what is known of it is from this session; ask the kernel, as for a file of others
    owner = FindFile(fd, &file);
    session = CurrentSession();
  }
  if (owner != Owner::kOurs || session == nullptr || session->channel.lost()) {
    TellGone();
    return Fail(EIO);
  }
  return ForwardIoctl(*session, file, request, argument);
}

int MappableFd(int fd) {
  const ErrnoKeeper keep_errno;
  File file;
  if (!OwnsState() || FindInTable(fd, &file) != Owner::kOurs || file.device_class != DeviceClass::kUvm)
    return fd;
  const int mappable = mappable_files().Find(file.file_id);
  if (mappable < 0) return fd;
  // Gone behind our back (close_range), and the number may be somebody else's by now.
  const FdTable::Entry entry = fd_table().Get(mappable);
  const bool ours = entry.byte == FdTable::kPrivate && IdentityOfFd(mappable) == entry.identity;
  return ours ? mappable : fd;
}

void Mapped(int fd, uint64_t address, uint64_t size_bytes) {
  const ErrnoKeeper keep_errno;
  const FdTable::Entry entry = fd_table().Get(fd);
  if (entry.byte != FdTable::kDoorbellPage || !OwnsState() || IdentityOfFd(fd) != entry.identity) return;
  if (Session* session = CurrentSession()) session->doorbells.Add(address, size_bytes);
}

Answer CloseKnown(int fd) {
  if (!OwnsState()) return {};
  const FdTable::Entry entry = fd_table().Get(fd);
  const bool current = IdentityOfFd(fd) == entry.identity;
  if (entry.byte == FdTable::kPrivate && current) return Fail(EBADF);
  if (entry.byte == static_cast<uint8_t>(DeviceClass::kUvm) && current) mappable_files().Drop(entry.file_id);
  fd_table().Clear(fd);
  return {};
}

}  // namespace nvshim::preload
