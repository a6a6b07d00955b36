// [unsafe] Reads and writes at the addresses that a caller hands to ioctl, as a kernel does; looks at its own
// process through /proc.
#include "testing/fake_kernel/fake_kernel.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>
#include <utility>

#include "proto/abi/host_piece.h"

namespace nvshim::testing {
namespace {

using broker::DeviceClass;
using broker::DriverCall;
using broker::Get;
using broker::Put;

constexpr uint32_t NV_ESC_RM_CONTROL = 0x2a, NV_ESC_RM_ALLOC = 0x2b;
constexpr uint32_t NV01_DEVICE_0 = 0x80;
constexpr uint32_t UVM_INITIALIZE = 0x30000001;
constexpr uint64_t UVM_INIT_FLAGS_MULTI_PROCESS_SHARING_MODE = 0x2;
constexpr uint32_t NV_ERR_INSUFFICIENT_PERMISSIONS = 0x1b, NV_ERR_INVALID_ADDRESS = 0x1e,
                   NV_ERR_OPERATING_SYSTEM = 0x59;
// What the driver prints at /proc/driver/nvidia/params where nobody has changed it.
constexpr char kParams[] = "ModifyDeviceFiles: 1\nDeviceFileUID: 0\nDeviceFileGID: 0\nDeviceFileMode: 438\n";

std::optional<broker::DeviceNode> NodeOf(const std::string& path) {
  if (path == "/dev/nvidiactl") return broker::DeviceNode{DeviceClass::kCtl, 0};
  if (path == "/dev/nvidia-uvm") return broker::DeviceNode{DeviceClass::kUvm, 0};
  if (path == "/dev/nvidia-uvm-tools") return broker::DeviceNode{DeviceClass::kUvmTools, 0};
  uint32_t minor;
  if (sscanf(path.c_str(), "/dev/nvidia%" SCNu32, &minor) == 1)
    return broker::DeviceNode{DeviceClass::kGpu, minor};
  return std::nullopt;
}

bool CallerIsRoot() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2] = {};
  return syscall(SYS_capget, &header, data) == 0 && (data[0].effective & 1u << CAP_SYS_ADMIN) != 0;
}

// The descriptor of this process that is of the file with this inode; -1 when there is none.
int FindDescriptor(uint64_t inode) {
  for (int fd = 0; fd < 4096; ++fd) {
    struct stat status;
    if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && status.st_ino == inode) return fd;
  }
  return -1;
}

// What stands behind [address, address + size_bytes) of this process: from first to last byte, or nothing
// when some of it is no shared file.
std::vector<abi::HostPiece> PiecesOf(uint64_t address, uint64_t size_bytes) {
  std::vector<abi::HostPiece> pieces;
  std::ifstream maps("/proc/self/maps");
  for (std::string line; size_bytes != 0 && std::getline(maps, line);) {
    uint64_t start, end, offset, inode;
    char sharing;
    if (sscanf(line.c_str(), "%" SCNx64 "-%" SCNx64 " %*3c%c %" SCNx64 " %*s %" SCNu64, &start, &end,
               &sharing, &offset, &inode) != 5 ||
        sharing != 's' || inode == 0 || address < start || address >= end)
      continue;
    const uint64_t piece_bytes = std::min(size_bytes, end - address);
    pieces.push_back({inode, offset + (address - start), piece_bytes});
    address += piece_bytes;
    size_bytes -= piece_bytes;
  }
  if (size_bytes != 0) pieces.clear();
  return pieces;
}

DriverCall ToCall(const preload::GatheredCall& gathered) {
  DriverCall call;
  call.command = gathered.command;
  for (uint32_t i = 0; i < gathered.buffer_count; ++i) {
    const preload::GuestBuffer& buffer = gathered.buffers[i];
    const auto offset = static_cast<uint32_t>(call.buffer.size());
    call.buffer.resize(offset + ((buffer.size_bytes + 7) & ~7u));
    std::memcpy(call.buffer.data() + offset, buffer.address, buffer.size_bytes);
    call.segments.push_back({offset, buffer.size_bytes, buffer.parent, buffer.pointer_offset});
  }
  return call;
}

void FromCall(const DriverCall& call, const preload::GatheredCall& gathered) {
  for (uint32_t i = 0; i < gathered.buffer_count; ++i) {
    const uint8_t* from = call.Bytes(i).data();
    preload::Scatter(
        gathered, i,
        [&](uint8_t* to, uint32_t size_bytes) {
          std::memcpy(to, from, size_bytes);
          from += size_bytes;
          return true;
        },
        [&](uint32_t size_bytes) {
          from += size_bytes;
          return true;
        });
  }
}

// " 0x41" for a class or a command, what tells calls of one kind apart.
std::string DetailOf(const DriverCall& call) {
  if (abi::IocType(call.command) != abi::kEscapeType || call.segments.empty()) return "";
  uint32_t number;
  switch (abi::IocNumber(call.command)) {
    case NV_ESC_RM_CONTROL:
      number = Get<uint32_t>(call.Bytes(0), abi::nvos54::kCmd);
      break;
    case NV_ESC_RM_ALLOC:
    case abi::kAllocMemoryNumber:
      static_assert(abi::nvos21::kClass == abi::nvos02::kClass && abi::nvos64::kClass == abi::nvos02::kClass,
                    "one offset serves the three structs");
      number = Get<uint32_t>(call.Bytes(0), abi::nvos21::kClass);
      break;
    default:
      return "";
  }
  std::ostringstream text;
  text << " 0x" << std::hex << number;
  return text.str();
}

}  // namespace

FakeKernel::FakeKernel(FakeKernelOptions options)
    : options_(std::move(options)),
      sim_(*broker::CreateSimDriver(options_.sim)),
      table_(abi::ChooseTable(options_.sim.driver_version).table),
      inotify_(inotify_init1(IN_CLOEXEC | IN_NONBLOCK)),
      stop_(eventfd(0, EFD_CLOEXEC)),
      page_carrier_(sim_->Open({DeviceClass::kGpu, 0}, O_RDWR).file),
      events_([this] { RunEvents(); }) {}

FakeKernel::~FakeKernel() {
  eventfd_write(stop_, 1);
  events_.join();
  for (const auto& [fd, file] : files_) close(fd);
  close(stop_);
  close(inotify_);
}

int FakeKernel::Open(const std::string& path, int flags) {
  const std::lock_guard lock(mutex_);
  const auto node = NodeOf(path);
  if (!node) return -ENOENT;
  if (path == options_.lost) return -EIO;
  const broker::OpenResult opened = sim_->Open(*node, static_cast<uint32_t>(flags));
  if (opened.error != 0) return -opened.error;
  const int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  last_fd_ = fd;
  files_[fd] = {++opened_, *node, opened.file};
  Note("open " + std::to_string(opened_) + " " + path + ((flags & O_NONBLOCK) != 0 ? " O_NONBLOCK" : ""));
  return fd;
}

void FakeKernel::Close(int fd) {
  const std::lock_guard lock(mutex_);
  const auto it = files_.find(fd);
  if (it == files_.end()) return;
  Note("close " + std::to_string(it->second.number));
  sim_->Close(it->second.sim);
  close(fd);
  files_.erase(it);
}

int FakeKernel::Ioctl(int fd, uint32_t request, void* argument) {
  const std::lock_guard lock(mutex_);
  const auto it = files_.find(fd);
  if (it == files_.end()) return EBADF;
  preload::GatheredCall gathered;
  const int error = preload::Gather(*table_, static_cast<preload::DeviceClass>(it->second.node.device_class),
                                    request, argument, &gathered);
  return error != 0 ? error : RunIoctl(fd, it->second, gathered);
}

int FakeKernel::RunIoctl(int fd, File& file, const preload::GatheredCall& gathered) {
  const bool is_uvm = file.node.device_class == DeviceClass::kUvm;
  const abi::Spec* spec =
      is_uvm ? abi::Find(table_->uvm, gathered.command)
             : abi::Find(table_->escapes, abi::IocNumber(gathered.command), abi::IocSize(gathered.command));
  if (spec == nullptr)
    spec = abi::Find(table_->escapes, abi::IocNumber(gathered.command));  // an array of structs
  DriverCall call = ToCall(gathered);
  const std::string detail = DetailOf(call) + CarrierOf(gathered);
  const int error = Forward(fd, file, gathered, call);
  std::ostringstream text;
  text << "ioctl " << file.number << " " << spec->name << detail;
  if (error != 0)
    text << " = errno " << error;
  else if (spec->status_offset != abi::kNone)
    text << " = 0x" << std::hex << Get<uint32_t>(call.Bytes(0), spec->status_offset);
  Note(text.str());
  FromCall(call, gathered);
  return error;
}

// " onto 6" when file 6 gets an mmap context, " with 6" when parameters name it.
std::string FakeKernel::CarrierOf(const preload::GatheredCall& gathered) const {
  for (uint32_t i = 0; i < gathered.fd_count; ++i) {
    const auto named = files_.find(gathered.fds[i].fd);
    if (named == files_.end()) continue;
    if (gathered.fds[i].use == abi::FdUse::kMapping) return " onto " + std::to_string(named->second.number);
    if (gathered.fds[i].use == abi::FdUse::kFile && gathered.fds[i].buffer != 0)
      return " with " + std::to_string(named->second.number);
  }
  return "";
}

int FakeKernel::Forward(int fd, File& file, const preload::GatheredCall& gathered, DriverCall& call) {
  broker::DriverFileId mapped = 0;
  int mapped_fd = -1;
  for (uint32_t i = 0; i < gathered.fd_count; ++i) {
    const preload::FdSite& site = gathered.fds[i];
    const auto named = files_.find(site.fd);
    if (site.use == abi::FdUse::kCookie || named == files_.end()) continue;
    call.files.push_back({site.buffer, site.offset, named->second.sim});
    if (site.use == abi::FdUse::kMapping) mapped = named->second.sim, mapped_fd = site.fd;
  }
  const bool pins = file.node.device_class == DeviceClass::kGpu &&
                    abi::IsEscape(call.command, abi::kAllocMemoryNumber) &&
                    Get<uint32_t>(call.Bytes(0), abi::nvos02::kClass) == abi::kClassOsDescriptor;
  if (pins && !NamePages(file, call)) {
    Put<uint32_t>(call.Bytes(0), abi::nvos02::kStatus, NV_ERR_INVALID_ADDRESS);
    return 0;
  }
  if (const uint32_t status = RefusalOf(call); status != 0) {
    const bool is_alloc64 =
        abi::IsEscape(call.command, NV_ESC_RM_ALLOC) && call.Bytes(0).size() == abi::nvos64::kSize;
    Put<uint32_t>(call.Bytes(0), is_alloc64 ? abi::nvos64::kStatus : abi::nvos54::kStatus, status);
    return 0;
  }
  const int error = sim_->Ioctl(file.sim, call);
  if (pins) call.segments.resize(1);  // the list of pages is not the caller's
  if (error == 0 && mapped != 0) BecomeMemory(mapped_fd, files_.at(mapped_fd), mapped);
  if (error == 0 && file.node.device_class == DeviceClass::kUvm && call.command == UVM_INITIALIZE &&
      (Get<uint64_t>(call.Bytes(0), 0) & UVM_INIT_FLAGS_MULTI_PROCESS_SHARING_MODE) != 0)
    BecomeMemory(fd, file, file.sim);
  return error;
}

// The NV_STATUS of a call that the driver turns down because of who makes it; 0 when it does not.
uint32_t FakeKernel::RefusalOf(const DriverCall& call) const {
  if (abi::IsEscape(call.command, NV_ESC_RM_ALLOC)) {
    const bool has_gpu = std::ranges::any_of(
        files_, [](const auto& entry) { return entry.second.node.device_class == DeviceClass::kGpu; });
    if (Get<uint32_t>(call.Bytes(0), abi::nvos21::kClass) == NV01_DEVICE_0 && !has_gpu)
      return NV_ERR_OPERATING_SYSTEM;
  } else if (abi::IsEscape(call.command, NV_ESC_RM_CONTROL)) {
    if (options_.root_only_controls.contains(Get<uint32_t>(call.Bytes(0), abi::nvos54::kCmd)) &&
        !CallerIsRoot())
      return NV_ERR_INSUFFICIENT_PERMISSIONS;
  }
  return 0;
}

// Pins: from the caller's address to the files behind its pages.
bool FakeKernel::NamePages(File& file, DriverCall& call) {
  const auto params = call.Bytes(0);
  const std::vector<abi::HostPiece> pieces =
      PiecesOf(Get<uint64_t>(params, abi::nvos02::kMemory), Get<uint64_t>(params, abi::nvos02::kLimit) + 1);
  if (pieces.empty()) return false;
  for (const abi::HostPiece& piece : pieces) {
    const int fd = FindDescriptor(piece.inode);
    if (fd < 0) return false;
    sim_->AdoptHostFile(file.sim, fcntl(fd, F_DUPFD_CLOEXEC, 0));
  }
  call.files = {{0, abi::nvos02::kFd, page_carrier_}};
  const auto offset = static_cast<uint32_t>(call.buffer.size());
  const auto size_bytes = static_cast<uint32_t>(pieces.size() * sizeof(abi::HostPiece));
  call.buffer.resize(offset + size_bytes);
  std::memcpy(call.buffer.data() + offset, pieces.data(), size_bytes);
  call.segments.push_back({offset, size_bytes, 0, abi::nvos02::kMemory});
  return true;
}

// The simulated driver's memory takes the eventfd's place under the same descriptor. Opened once more,
// because only what was opened after it is watched tells inotify when its last descriptor and mapping are
// gone.
void FakeKernel::BecomeMemory(int fd, File& file, broker::DriverFileId mapped) {
  const broker::MapResult memory = sim_->Map(mapped);
  if (memory.error != 0) return;
  const std::string path = "/proc/self/fd/" + std::to_string(memory.fd);
  file.inotify_watch = inotify_add_watch(inotify_, path.c_str(), IN_CLOSE);
  const int again = open(path.c_str(), O_RDWR | O_CLOEXEC);
  close(memory.fd);
  if (file.inotify_watch < 0 || again < 0) abort();
  ++open_memories_[file.inotify_watch];
  dup3(again, fd, O_CLOEXEC);
  close(again);
}

std::optional<std::string> FakeKernel::Read(const std::string& path) {
  if (path == "/proc/driver/nvidia/params") return kParams;
  for (const auto& [name, contents] : sim_->info().files)
    if (name == path) return contents;
  return std::nullopt;
}

std::vector<std::string> FakeKernel::List(const std::string& path) {
  std::vector<std::string> names;
  if (path == "/proc/driver/nvidia/gpus")
    for (const broker::GpuInfo& gpu : sim_->info().gpus) names.push_back(gpu.bus_id);
  return names;
}

bool FakeKernel::Watch(int fd, uint64_t id) {
  const std::lock_guard lock(mutex_);
  const auto it = files_.find(fd);
  if (it == files_.end() || it->second.inotify_watch < 0) return false;
  watched_[id] = it->second.inotify_watch;
  return true;
}

absl::flat_hash_set<uint64_t> FakeKernel::Held() {
  const std::lock_guard lock(mutex_);
  ReadReleases();
  absl::flat_hash_set<uint64_t> held;
  for (const auto& [id, watch] : watched_)
    if (open_memories_[watch] > 0) held.insert(id);
  return held;
}

void FakeKernel::ReadReleases() {
  alignas(inotify_event) char bytes[4096];
  ssize_t size;
  while ((size = read(inotify_, bytes, sizeof(bytes))) > 0) {
    for (ssize_t at = 0; at < size;) {
      const auto* event = reinterpret_cast<const inotify_event*>(bytes + at);
      if ((event->mask & IN_CLOSE) != 0) --open_memories_[event->wd];
      at += static_cast<ssize_t>(sizeof(inotify_event) + event->len);
    }
  }
}

void FakeKernel::Fire(int fd) { eventfd_write(fd, 1); }

void FakeKernel::RunEvents() {
  pollfd entries[] = {{sim_->signal_fd(), POLLIN, 0}, {stop_, POLLIN, 0}};
  std::vector<broker::DriverFileId> signalled;
  while (poll(entries, 2, -1) > 0 && entries[1].revents == 0) {
    signalled.clear();
    sim_->TakeSignals(&signalled);
    const std::lock_guard lock(mutex_);
    for (const auto& [fd, file] : files_)
      if (std::ranges::find(signalled, file.sim) != signalled.end()) Fire(fd);
  }
}

void FakeKernel::Note(const std::string& call) {
  if (options_.record) options_.record(call);
}

}  // namespace nvshim::testing
