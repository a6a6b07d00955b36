// The simulated machine: its GPUs, their memory, the driver version it claims, and the open files. Everything
// that outlives a call and is not an RM object. Runs under the driver's lock.
#ifndef BROKER_DRIVER_SIM_MACHINE_H_
#define BROKER_DRIVER_SIM_MACHINE_H_

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "broker/driver/driver.h"
#include "broker/driver/sim/channels.h"
#include "broker/driver/sim/duplicate.h"
#include "broker/driver/sim/layout.h"
#include "broker/driver/sim/memory.h"
#include "broker/driver/sim/object_tree.h"
#include "broker/driver/sim/os_events.h"
#include "broker/driver/sim/profile.h"
#include "broker/driver/sim/unknowns.h"
#include "broker/driver/sim/uvm_space.h"
#include "proto/abi/exported_objects.h"
#include "proto/abi/spec.h"

namespace nvshim::broker::sim {

// What is inside of a ctl file that objects were put into (proto/abi/exported_objects.h).
struct Exports {
  uint32_t max_objects = 0;
  uint32_t device_instance = 0;
  std::array<uint8_t, abi::kExportMetadataBytes> metadata{};
  absl::flat_hash_map<uint32_t, Duplicate> places;  // those that are not empty
};

// One open device file.
struct File {
  DeviceNode node{};
  DriverFileId registered_ctl = 0;                // set once by NV_ESC_REGISTER_FD
  absl::flat_hash_set<DriverFileId> registrants;  // of a ctl file: who registered to it
  bool gpus_attached = false;                     // by NV_ESC_ATTACH_GPUS_TO_FD, once
  std::shared_ptr<Backing> mapping;               // the mmap context; one per file, until close
  bool maps_doorbells = false;                    // the context is a page of doorbells
  std::shared_ptr<const DriverFileId> id;         // who holds it weakly knows whether the file is open
  std::unique_ptr<UvmSpace> uvm;                  // of UVM files, from UVM_INITIALIZE on
  HostFiles host_files;                           // of a ctl file, for all files registered to it
  std::shared_ptr<HostFile> host_file;            // goes to the guest in place of a mapping
  std::unique_ptr<Exports> exports;               // of a ctl file, once objects were put into it

  explicit File(HostMemoryCount& count) : host_files(count) {}
};

// A UVM file is mapped at offset == address, so its file spans the user half of the address space; it stays
// sparse.
inline constexpr uint64_t kUvmFileBytes = uint64_t{1} << 47;

class Machine {
  // Destroyed after the objects and files that hold shares of it.
  std::string version_;
  const abi::Table& table_;
  const Layout& layout_;
  std::vector<Gpu> gpus_;
  std::vector<std::unique_ptr<VideoHeap>> heaps_;

 public:
  // `table` is the one to serve `version` with.
  Machine(const Profile& profile, uint32_t gpu_count, std::string version, const abi::Table& table,
          std::function<void(std::string_view)> log, std::function<void(std::string_view)> log_fault = {});

  const std::string& version() const { return version_; }
  const abi::Table& table() const { return table_; }
  const Layout& layout() const { return layout_; }
  const std::vector<Gpu>& gpus() const { return gpus_; }
  const Gpu& gpu(uint32_t index) const { return gpus_[index < gpus_.size() ? index : 0]; }
  VideoHeap& heap(uint32_t index) { return *heaps_[index < heaps_.size() ? index : 0]; }
  // Index of the GPU, or nothing.
  std::optional<uint32_t> FindGpu(uint32_t gpu_id) const;
  bool HasUuid(std::span<const uint8_t> uuid) const;

  // 0 when kFilesMax files are open.
  DriverFileId AddFile(DeviceNode node);
  File* FindFile(DriverFileId id);
  void RemoveFile(DriverFileId id);

  // The memfd behind a UVM file, made when first needed: byte N of it is what the guest sees at address N.
  // Null with errno set when it cannot be made.
  std::shared_ptr<Backing> UvmBacking(File& file);

  // The ctl file whose clients `id` may use: the one it registered to, or itself.
  DriverFileId CtlFileOf(DriverFileId id);

  BackingCount backings;
  HostMemoryCount host_memory;
  Unknowns unknowns;
  FileSignals signals;
  OsEventCount os_events;
  Channels channels;
  ObjectTree tree;
  size_t exported_objects = 0;    // inside of files
  uint64_t memblock_size = 0;     // NV_ESC_SYS_PARAMS sets it once
  uint64_t next_mapping_key = 0;  // see rm_memory.cc

 private:
  absl::flat_hash_map<DriverFileId, std::unique_ptr<File>> files_;
  DriverFileId next_file_ = 1;
};

}  // namespace nvshim::broker::sim

#endif  // BROKER_DRIVER_SIM_MACHINE_H_
