// File ids are minted upwards and skip live ones, so that an id in a late call does not meet another file
// soon.
#include "broker/driver/sim/machine.h"

#include <algorithm>
#include <utility>

#include "broker/driver/sim/limits.h"

namespace nvshim::broker::sim {

Machine::Machine(const Profile& profile, uint32_t gpu_count, std::string version, const abi::Table& table,
                 std::function<void(std::string_view)> log, std::function<void(std::string_view)> log_fault)
    : version_(std::move(version)),
      table_(table),
      layout_(LayoutOf(table)),
      unknowns(std::move(log)),
      channels(signals, std::move(log_fault)) {
  for (uint32_t minor = 0; minor < gpu_count; ++minor) {
    gpus_.push_back(MakeGpu(profile, minor));
    heaps_.push_back(std::make_unique<VideoHeap>(profile.heap_bytes()));
  }
}

std::optional<uint32_t> Machine::FindGpu(uint32_t gpu_id) const {
  for (const Gpu& gpu : gpus_)
    if (gpu.gpu_id == gpu_id) return gpu.minor;
  return std::nullopt;
}

bool Machine::HasUuid(std::span<const uint8_t> uuid) const {
  return std::any_of(gpus_.begin(), gpus_.end(), [uuid](const Gpu& gpu) {
    return std::equal(gpu.uuid.begin(), gpu.uuid.end(), uuid.begin(), uuid.end());
  });
}

DriverFileId Machine::AddFile(DeviceNode node) {
  if (files_.size() >= kFilesMax) return 0;
  while (next_file_ == 0 || files_.contains(next_file_)) ++next_file_;
  auto file = std::make_unique<File>(host_memory);
  file->node = node;
  file->id = std::make_shared<const DriverFileId>(next_file_);
  files_.emplace(next_file_, std::move(file));
  return next_file_++;
}

std::shared_ptr<Backing> Machine::UvmBacking(File& file) {
  if (file.mapping == nullptr) file.mapping = Backing::Make(kUvmFileBytes, backings);
  return file.mapping;
}

File* Machine::FindFile(DriverFileId id) {
  auto it = files_.find(id);
  return it == files_.end() ? nullptr : it->second.get();
}

void Machine::RemoveFile(DriverFileId id) {
  auto it = files_.find(id);
  if (it == files_.end()) return;
  tree.CloseFile(id);
  // A file stays registered to nothing rather than to a later file of the same id.
  for (DriverFileId registrant : it->second->registrants)
    if (File* file = FindFile(registrant)) file->registered_ctl = 0;
  if (File* ctl = FindFile(it->second->registered_ctl)) ctl->registrants.erase(id);
  if (it->second->exports != nullptr) exported_objects -= it->second->exports->places.size();
  files_.erase(id);
  signals.Remove(id);
}

DriverFileId Machine::CtlFileOf(DriverFileId id) {
  const File* file = FindFile(id);
  return file != nullptr && file->registered_ctl != 0 ? file->registered_ctl : id;
}

}  // namespace nvshim::broker::sim
