// [unsafe] Passes addresses of this process to the kernel: those of the call's own segments, whose sizes the
// core has held against the driver's tables, and of host memory (../host_memory.h).
#include "broker/driver/kernel/kernel_driver.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <mutex>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "broker/driver/frontend_answers.h"
#include "broker/driver/host_memory.h"
#include "broker/driver/kernel/discovery.h"
#include "broker/driver/kernel/event_watch.h"
#include "broker/driver/kernel/guest_mappings.h"
#include "proto/abi/spec.h"

namespace nvshim::broker::kernel {
namespace {

// Escapes, by _IOC_NR (nv_escape.h, nv-ioctl-numbers.h).
constexpr uint32_t NV_ESC_RM_ALLOC = 0x2b, NV_ESC_RM_MAP_MEMORY = 0x4e, NV_ESC_RM_UNMAP_MEMORY = 0x4f,
                   NV_ESC_CHECK_VERSION_STR = 0xd2, NV_ESC_SYS_PARAMS = 0xd6, NV_ESC_NUMA_INFO = 0xd7,
                   NV_ESC_WAIT_OPEN_COMPLETE = 0xda;
// UVM (uvm_linux_ioctl.h, uvm_ioctl.h).
constexpr uint32_t UVM_INITIALIZE = 0x30000001, UVM_POPULATE_PAGEABLE = 71;
constexpr uint64_t UVM_INIT_FLAGS_MULTI_PROCESS_SHARING_MODE = 0x2;
constexpr size_t kPopulateStatus = 20;

// nvstatuscodes.h
constexpr uint32_t NV_OK = 0, NV_ERR_INVALID_ADDRESS = 0x1e, NV_ERR_INVALID_ARGUMENT = 0x1f,
                   NV_ERR_INVALID_CLIENT = 0x23, NV_ERR_NO_MEMORY = 0x51, NV_ERR_OBJECT_NOT_FOUND = 0x57,
                   NV_ERR_STATE_IN_USE = 0x63;

// Classes (cl0000.h, cl0080.h, cl2080.h).
constexpr uint32_t NV01_ROOT = 0x0, NV01_ROOT_NON_PRIV = 0x1, NV01_ROOT_CLIENT = 0x41, NV01_DEVICE_0 = 0x80,
                   NV20_SUBDEVICE_0 = 0x2080;

// NVOS33 and NVOS34 begin alike: client, device, memory (nvos.h).
constexpr size_t kUnmapStatus = 24;

MappedObject ObjectOf(std::span<const uint8_t> params) {
  using namespace abi::nvos33;
  return {Get<uint32_t>(params, kClient), Get<uint32_t>(params, kDevice), Get<uint32_t>(params, kMemory)};
}

class KernelDriver final : public Driver {
 public:
  KernelDriver(Kernel& kernel, DriverInfo info, WarmGpus gpus)
      : kernel_(kernel), info_(std::move(info)), gpus_(std::move(gpus)), mappings_(kernel) {}
  ~KernelDriver() override {
    for (auto& [id, file] : files_) CloseFd(*file);
  }

  absl::Status Start() { return events_.Start(); }

  const DriverInfo& info() const override { return info_; }

  OpenResult Open(DeviceNode node, uint32_t flags) override {
    // Blocking: else the driver opens a GPU later, on a thread of its own, and reports that with an escape.
    const int fd = kernel_.Open(PathOf(node), static_cast<int>(flags & ~uint32_t{O_NONBLOCK}));
    if (fd < 0) return {-fd, 0};
    const std::lock_guard lock(mutex_);
    const DriverFileId id = next_file_++;
    files_[id] = std::make_unique<File>(File{.node = node, .fd = fd});
    return {0, id};
  }

  int Ioctl(DriverFileId id, DriverCall& call) override {
    Lock lock(mutex_);
    File* const file = Find(id);
    if (file == nullptr) return EBADF;
    file->used = true;
    PutAddresses(call);
    for (const CallFile& named : call.files) PutDescriptor(named, call);
    if (file->node.device_class == DeviceClass::kUvm || file->node.device_class == DeviceClass::kUvmTools)
      return UvmIoctl(lock, *file, call);
    return RmIoctl(lock, id, *file, call);
  }

  MapResult Map(DriverFileId id) override {
    const std::lock_guard lock(mutex_);
    File* const found = Find(id);
    if (found == nullptr) return {EBADF, -1};
    const File& file = *found;
    if (file.host_file != nullptr) return MapHostFile(file);
    // A file on which calls were made has clients, events or a registration behind it: a guest that got it
    // could go on making calls. UVM's have the ranges that the guest maps; there is no other way.
    if (file.node.device_class != DeviceClass::kUvm) {
      if (file.used) return {EPERM, -1};
      if (!file.has_context) return {EINVAL, -1};
    }
    if (file.maps && !mappings_.Add(file.fd, *file.maps)) return {ENOMEM, -1};
    const int fd = fcntl(file.fd, F_DUPFD_CLOEXEC, 0);
    return fd < 0 ? MapResult{errno, -1} : MapResult{0, fd};
  }

  void Close(DriverFileId id) override {
    const std::lock_guard lock(mutex_);
    auto node = files_.extract(id);
    if (node.empty()) return;
    std::unique_ptr<File> file = std::move(node.mapped());
    if (file->has_events) events_.Remove(file->fd);
    if (HasMappings(*file))
      lingering_.push_back(std::move(file));
    else
      CloseFd(*file);
  }

  size_t Reap() override {
    const std::lock_guard lock(mutex_);
    std::erase_if(lingering_, [&](std::unique_ptr<File>& file) {
      if (HasMappings(*file)) return false;
      CloseFd(*file);
      return true;
    });
    return lingering_.size();
  }

  int signal_fd() const override { return events_.signal_fd(); }
  void TakeSignals(std::vector<DriverFileId>* files) override { events_.Take(files); }

 private:
  using Lock = std::unique_lock<std::mutex>;

  struct File {
    DeviceNode node;
    int fd;
    bool used = false;  // a call was made on it
    bool has_events = false;
    DriverFileId registered_ctl = 0;             // of a GPU file
    absl::flat_hash_set<uint32_t> clients = {};  // made on it
    std::unique_ptr<HostFiles> host_files = {};  // of a ctl file: its process's
    // Of a file that goes to the guest: what it is mapped as.
    bool has_context = false;               // RM put an mmap context into it
    std::optional<MappedObject> maps = {};  // what of the GPU's BAR the context is
    std::shared_ptr<HostFile> host_file = {};
  };

  // ---- What goes into a call ----

  static void PutAddresses(DriverCall& call) {
    for (size_t i = 1; i < call.segments.size(); ++i) {
      const CallSegment& segment = call.segments[i];
      Put<uint64_t>(call.Bytes(segment.parent), segment.pointer_offset,
                    reinterpret_cast<uint64_t>(call.buffer.data() + segment.offset));
    }
  }

  void PutDescriptor(const CallFile& named, DriverCall& call) {
    const File* const file = Find(named.file);
    Put<int32_t>(call.Bytes(named.segment), named.field_offset, file == nullptr ? -1 : file->fd);
  }

  int Issue(const File& file, DriverCall& call) {
    return kernel_.Ioctl(file.fd, call.command, call.segments.empty() ? nullptr : call.Bytes(0).data());
  }

  // Other calls want the lock meanwhile; those that free and map keep it, because what they look at has to
  // stay so. No file of a call under way is closed: the core sees to that.
  int IssueUnlocked(Lock& lock, const File& file, DriverCall& call) {
    lock.unlock();
    const int error = Issue(file, call);
    lock.lock();
    return error;
  }

  // Without a call of the kernel: `status` at `offset` is the answer.
  static int Answer(DriverCall& call, size_t offset, uint32_t status) {
    Put<uint32_t>(call.Bytes(0), offset, status);
    return 0;
  }

  // ---- RM ----

  int RmIoctl(Lock& lock, DriverFileId id, File& file, DriverCall& call) {
    switch (abi::IocNumber(call.command)) {
      case NV_ESC_CHECK_VERSION_STR:
        return CheckVersionStr(info_.version, call.Bytes(0));
      case NV_ESC_SYS_PARAMS:
        // One value for the whole machine, which the first caller sets for good.
        if (memblock_size_bytes_ == 0) memblock_size_bytes_ = Get<uint64_t>(call.Bytes(0), 0);
        return 0;
      case NV_ESC_NUMA_INFO:
        NumaInfo(memblock_size_bytes_, call.Bytes(0));
        return 0;
      case NV_ESC_WAIT_OPEN_COMPLETE:
        // The open has blocked until all was done: rc and adapterStatus are 0.
        std::ranges::fill(call.Bytes(0), uint8_t{0});
        return 0;
      case abi::kRegisterFdNumber:
        return RegisterFd(lock, file, call);
      case abi::kAllocOsEventNumber:
        return AllocOsEvent(lock, id, file, call);
      case abi::kAllocMemoryNumber:
        return AllocMemory(lock, file, call);
      case NV_ESC_RM_ALLOC:
        return Alloc(lock, file, call);
      case abi::kFreeNumber:
        return Free(file, call);
      case NV_ESC_RM_MAP_MEMORY:
        return MapMemory(file, call);
      case NV_ESC_RM_UNMAP_MEMORY:
        return UnmapMemory(id, file, call);
      default:
        return IssueUnlocked(lock, file, call);
    }
  }

  int RegisterFd(Lock& lock, File& file, DriverCall& call) {
    const int error = IssueUnlocked(lock, file, call);
    if (error == 0) file.registered_ctl = call.File(0, 0);
    return error;
  }

  int AllocOsEvent(Lock& lock, DriverFileId id, File& file, DriverCall& call) {
    if (!events_.Add(file.fd, id)) return ENOMEM;
    file.has_events = true;
    return IssueUnlocked(lock, file, call);
  }

  int Alloc(Lock& lock, File& file, DriverCall& call) {
    const int error = IssueUnlocked(lock, file, call);
    const auto params = call.Bytes(0);
    const size_t status_offset =
        params.size() == abi::nvos64::kSize ? abi::nvos64::kStatus : abi::nvos21::kStatus;
    if (error != 0 || Get<uint32_t>(params, status_offset) != NV_OK) return error;
    const uint32_t object = Get<uint32_t>(params, abi::nvos21::kObjectNew);
    switch (Get<uint32_t>(params, abi::nvos21::kClass)) {
      case NV01_ROOT:
      case NV01_ROOT_NON_PRIV:
      case NV01_ROOT_CLIENT:
        file.clients.insert(object);
        return 0;
      case NV01_DEVICE_0:
      case NV20_SUBDEVICE_0:
        devices_[Get<uint32_t>(params, abi::nvos21::kRoot)].insert(object);
        return 0;
      default:
        return 0;
    }
  }

  int Free(File& file, DriverCall& call) {
    UnmapDue();
    const auto params = call.Bytes(0);
    const uint32_t client = Get<uint32_t>(params, abi::nvos00::kRoot);
    const uint32_t object = Get<uint32_t>(params, abi::nvos00::kObjectOld);
    // Whatever hangs below a device goes with it.
    const bool frees_all = object == client || devices_[client].contains(object);
    if (frees_all ? mappings_.AnyOf(client) : mappings_.CountOf(client, object) != 0)
      return Answer(call, abi::nvos00::kStatus, NV_ERR_STATE_IN_USE);
    const int error = Issue(file, call);
    if (error != 0 || Get<uint32_t>(params, abi::nvos00::kStatus) != NV_OK) return error;
    if (object == client) {
      devices_.erase(client);
      file.clients.erase(client);
    } else {
      devices_[client].erase(object);
    }
    return 0;
  }

  int MapMemory(const File& file, DriverCall& call) {
    UnmapDue();
    const int error = Issue(file, call);
    const auto params = call.Bytes(0);
    File* const carrier = Find(call.File(0, abi::nvos33::kFd));
    if (error != 0 || Get<uint32_t>(params, abi::nvos33::kStatus) != NV_OK || carrier == nullptr)
      return error;
    carrier->has_context = true;
    if (carrier->node.device_class == DeviceClass::kGpu) carrier->maps = ObjectOf(params);
    return 0;
  }

  int UnmapMemory(DriverFileId id, const File& file, DriverCall& call) {
    UnmapDue();
    const auto params = call.Bytes(0);
    const MappedObject object = ObjectOf(params);
    if (mappings_.CountOf(object.client, object.memory) == 0) return Issue(file, call);
    const bool owed = mappings_.Owe(id, object, {params.begin(), params.end()});
    return Answer(call, kUnmapStatus, owed ? NV_OK : NV_ERR_OBJECT_NOT_FOUND);
  }

  void UnmapDue() {
    for (GuestMappings::Unmapping& due : mappings_.TakeDue()) {
      const File* const file = Find(due.file);
      if (file == nullptr) continue;  // and its clients with it
      kernel_.Ioctl(file->fd,
                    abi::EscapeCommand(NV_ESC_RM_UNMAP_MEMORY, static_cast<uint32_t>(due.bytes.size())),
                    due.bytes.data());
    }
  }

  // ---- Host memory ----

  int AllocMemory(Lock& lock, File& file, DriverCall& call) {
    const auto params = call.Bytes(0);
    if (Get<uint32_t>(params, abi::nvos02::kClass) == abi::kClassOsDescriptor)
      return Answer(call, abi::nvos02::kStatus, RegisterHostMemory(lock, file, call));
    const int error = IssueUnlocked(lock, file, call);
    File* const carrier = Find(call.File(0, abi::nvos02::kFd));
    if (error == 0 && Get<uint32_t>(params, abi::nvos02::kStatus) == NV_OK && carrier != nullptr)
      carrier->has_context = true;
    return error;
  }

  // The driver pins pages of the process that calls. The guest's own will be others: those of a file, which
  // it maps in place of its own when it has the answer. Pinned pages stay when the window is gone.
  uint32_t RegisterHostMemory(Lock& lock, File& file, DriverCall& call) {
    const auto params = call.Bytes(0);
    File* const carrier = Find(call.File(0, abi::nvos02::kFd));
    File* const owner = Find(file.registered_ctl);
    const uint32_t list = call.Child(0, abi::nvos02::kMemory);
    const uint64_t limit = Get<uint64_t>(params, abi::nvos02::kLimit);
    if (carrier == nullptr || list == 0 || limit == UINT64_MAX) return NV_ERR_INVALID_ARGUMENT;
    if (owner == nullptr) return NV_ERR_INVALID_CLIENT;
    auto& host_files = owner->host_files;
    if (host_files == nullptr) host_files = std::make_unique<HostFiles>(host_memory_count_);
    const HostFiles::Registration registration = host_files->Register(call.Bytes(list), limit + 1);
    if (registration.error != 0) return HostFiles::StatusOf(registration.error);
    const uint32_t status = Pin(lock, file, registration.range->Bytes(), call);
    if (status == NV_OK)
      carrier->host_file = registration.made;
    else if (registration.made != nullptr)
      host_files->Forget(*registration.made);
    return status;
  }

  uint32_t Pin(Lock& lock, File& file, std::span<uint8_t> window, DriverCall& call) {
    // Touched before: under the driver's locks it would be slow for all.
    if (window.empty() || madvise(window.data(), window.size(), MADV_POPULATE_WRITE) != 0)
      return NV_ERR_NO_MEMORY;
    const auto params = call.Bytes(0);
    Put<uint64_t>(params, abi::nvos02::kMemory, reinterpret_cast<uint64_t>(window.data()));
    Put<int32_t>(params, abi::nvos02::kFd, -1);
    return IssueUnlocked(lock, file, call) == 0 ? Get<uint32_t>(params, abi::nvos02::kStatus)
                                                : NV_ERR_INVALID_ARGUMENT;
  }

  MapResult MapHostFile(const File& file) {
    const int fd = file.host_file->Duplicate();
    return fd < 0 ? MapResult{errno, -1} : MapResult{0, fd};
  }

  // ---- UVM ----

  int UvmIoctl(Lock& lock, File& file, DriverCall& call) {
    switch (call.command) {
      case UVM_INITIALIZE: {
        // Else the file belongs to the memory of this process, and no other can map it. The guest sees its
        // own flags.
        const auto params = call.Bytes(0);
        const uint64_t flags = Get<uint64_t>(params, 0);
        Put<uint64_t>(params, 0, flags | UVM_INIT_FLAGS_MULTI_PROCESS_SHARING_MODE);
        const int error = IssueUnlocked(lock, file, call);
        Put<uint64_t>(params, 0, flags);
        return error;
      }
      case UVM_POPULATE_PAGEABLE:
        // It would look for the guest's address in the memory of this process.
        return Answer(call, kPopulateStatus, NV_ERR_INVALID_ADDRESS);
      default:
        return IssueUnlocked(lock, file, call);
    }
  }

  // ---- Files ----

  File* Find(DriverFileId id) {
    const auto it = files_.find(id);
    return it == files_.end() ? nullptr : it->second.get();
  }

  bool HasMappings(const File& file) {
    return std::ranges::any_of(file.clients, [&](uint32_t client) { return mappings_.AnyOf(client); });
  }

  void CloseFd(File& file) {
    kernel_.Close(file.fd);
    for (uint32_t client : file.clients) devices_.erase(client);
  }

  Kernel& kernel_;
  const DriverInfo info_;
  const WarmGpus gpus_;
  std::mutex mutex_;  // over all below but `events_`
  HostMemoryCount host_memory_count_;
  DriverFileId next_file_ =
      1;  // not used again: what the events' thread has noted must not mean another file
  absl::flat_hash_map<DriverFileId, std::unique_ptr<File>> files_;
  std::vector<std::unique_ptr<File>> lingering_;  // closed, but the guest maps memory of their clients
  absl::flat_hash_map<uint32_t, absl::flat_hash_set<uint32_t>> devices_;  // and subdevices, by client
  GuestMappings mappings_;
  uint64_t memblock_size_bytes_ = 0;
  EventWatch events_;  // last: its thread ends before anything it uses
};

}  // namespace

absl::StatusOr<std::unique_ptr<Driver>> CreateKernelDriver(Kernel& kernel) {
  auto info = Discover(kernel);
  if (!info.ok()) return info.status();
  auto gpus = WarmGpus::Open(kernel, *info, {});
  if (!gpus.ok()) return gpus.status();
  auto driver = std::make_unique<KernelDriver>(kernel, *std::move(info), *std::move(gpus));
  if (auto status = driver->Start(); !status.ok()) return status;
  return driver;
}

}  // namespace nvshim::broker::kernel
