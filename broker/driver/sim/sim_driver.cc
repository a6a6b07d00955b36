// The methods of Driver around the machine: lock, find the file, dispatch by device class.
#include "broker/driver/sim/sim_driver.h"

#include <errno.h>

#include <algorithm>
#include <mutex>
#include <utility>

#include "absl/strings/str_cat.h"
#include "broker/driver/sim/engine_thread.h"
#include "broker/driver/sim/escapes.h"
#include "broker/driver/sim/limits.h"
#include "broker/driver/sim/machine.h"
#include "broker/driver/sim/uvm.h"
#include "broker/driver/sim/virtual_files.h"
#include "broker/driver/table_for.h"

namespace nvshim::broker {
namespace {

using sim::File;

// Where Linux' dynamic character majors usually put nvidia-uvm; any number does as long as stat and
// /proc/devices agree.
constexpr uint32_t kUvmMajor = 510;

class SimDriverImpl final : public SimDriver {
 public:
  SimDriverImpl(const SimOptions& options, const sim::Profile& profile, const abi::Table& table)
      : machine_(profile, options.gpu_count, options.driver_version, table, options.log, options.log_fault),
        engine_(mutex_, machine_) {
    machine_.channels.launches.skip = options.skip_kernels;
    info_.version = options.driver_version;
    info_.uvm_major = kUvmMajor;
    for (const sim::Gpu& gpu : machine_.gpus())
      info_.gpus.push_back({gpu.minor, gpu.bus_id, std::string(gpu.profile->name), gpu.UuidText(),
                            uint64_t{gpu.profile->ram_mib} << 20, uint64_t{gpu.profile->reserved_mib} << 20});
    info_.files = sim::VirtualFiles(machine_, kUvmMajor);
  }

  const DriverInfo& info() const override { return info_; }

  OpenResult Open(DeviceNode node, uint32_t /*flags*/) override {
    const std::lock_guard lock(mutex_);
    if (node.device_class == DeviceClass::kGpu && node.minor >= machine_.gpus().size()) return {ENXIO, 0};
    const DriverFileId file = machine_.AddFile(node);
    return file == 0 ? OpenResult{EMFILE, 0} : OpenResult{0, file};
  }

  int Ioctl(DriverFileId id, DriverCall& call) override {
    const std::lock_guard lock(mutex_);
    File* file = machine_.FindFile(id);
    if (file == nullptr) return EBADF;
    if (!WellFormed(call)) return EINVAL;
    const int error = Dispatch(id, *file, call);
    engine_.NoteCall();
    return error;
  }

  MapResult Map(DriverFileId id) override {
    const std::lock_guard lock(mutex_);
    File* file = machine_.FindFile(id);
    if (file == nullptr) return {EBADF, -1};
    if (file->node.device_class == DeviceClass::kUvm) machine_.UvmBacking(*file);
    if (file->mapping == nullptr && file->host_file == nullptr) return {EINVAL, -1};
    const int fd = file->mapping != nullptr ? file->mapping->Duplicate() : file->host_file->Duplicate();
    if (fd < 0) return {errno, -1};
    return {0, fd, file->maps_doorbells};
  }

  void Close(DriverFileId id) override {
    const std::lock_guard lock(mutex_);
    machine_.RemoveFile(id);
  }

  void AddDoorbell(Doorbell* doorbell) override { engine_.AddDoorbell(doorbell); }
  void RemoveDoorbell(Doorbell* doorbell) override { engine_.RemoveDoorbell(doorbell); }
  void Ring() override { engine_.Ring(); }

  // No lock: the engine may hold it for a whole round.
  int signal_fd() const override { return machine_.signals.fd(); }
  void TakeSignals(std::vector<DriverFileId>* files) override { machine_.signals.Take(files); }

  sim::UnknownCounts unknown_counts() const override {
    const std::lock_guard lock(mutex_);
    return machine_.unknowns.counts();
  }

  uint64_t skipped_kernels() const override {
    const std::lock_guard lock(mutex_);
    return machine_.channels.launches.skipped;
  }

  bool engine_asleep() const override {
    const std::lock_guard lock(mutex_);
    return engine_.asleep();
  }

  void AdoptHostFile(DriverFileId file, int fd) override {
    const std::lock_guard lock(mutex_);
    if (File* ctl = machine_.FindFile(machine_.CtlFileOf(file))) ctl->host_files.Adopt(fd);
  }

 private:
  int Dispatch(DriverFileId id, File& file, DriverCall& call) {
    sim::EscapeContext context{machine_, file, id, machine_.CtlFileOf(id), call};
    switch (file.node.device_class) {
      case DeviceClass::kCtl:
      case DeviceClass::kGpu:
        return sim::RunEscape(context);
      case DeviceClass::kUvm:
        return sim::RunUvm(context);
      case DeviceClass::kUvmTools:
        return EINVAL;
    }
    return EINVAL;
  }

  // All segments lie inside the buffer. The core builds calls that way; it costs nothing to be sure.
  static bool WellFormed(const DriverCall& call) {
    if (call.segments.empty()) return false;
    for (const CallSegment& segment : call.segments)
      if (segment.offset > call.buffer.size() || segment.size_bytes > call.buffer.size() - segment.offset)
        return false;
    return true;
  }

  DriverInfo info_;
  mutable sim::FairMutex mutex_;
  sim::Machine machine_;
  sim::EngineThread engine_;  // last: its thread ends before anything it uses
};

}  // namespace

absl::StatusOr<std::unique_ptr<SimDriver>> CreateSimDriver(const SimOptions& options) {
  const sim::Profile* profile = sim::FindProfile(options.gpu);
  if (profile == nullptr)
    return absl::InvalidArgumentError(
        absl::StrCat("no GPU profile \"", options.gpu, "\"; known: ", sim::ProfileKeys()));
  const auto choice = TableFor(options.driver_version);
  if (!choice.ok()) return choice.status();
  if (options.gpu_count == 0 || options.gpu_count > sim::kGpusMax)
    return absl::InvalidArgumentError(
        absl::StrCat("gpu_count ", options.gpu_count, " is not in 1..", sim::kGpusMax));
  return std::make_unique<SimDriverImpl>(options, *profile, *choice->table);
}

}  // namespace nvshim::broker
