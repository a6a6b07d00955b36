#include "broker/core/file_table.h"

#include <utility>

#include "broker/core/limits.h"

namespace nvshim::broker {
namespace {

constexpr uint32_t kIndexBits = 12;
static_assert(kFilesPerGuestMax <= 1u << kIndexBits);
constexpr uint32_t kIndexMask = (1u << kIndexBits) - 1;
constexpr uint32_t kGenerationMask = (1u << (32 - kIndexBits)) - 1;

uint32_t IndexOf(FileId id) { return static_cast<uint32_t>(id) & kIndexMask; }

FileId MakeId(uint32_t index, uint32_t generation) {
  return static_cast<FileId>(generation << kIndexBits | index);
}

}  // namespace

File* FileTable::Reserve(DeviceNode node, ProcessId process, Charge charge) {
  if (free_.empty()) {
    if (slots_.size() >= kFilesPerGuestMax) return nullptr;
    free_.push_back(static_cast<uint32_t>(slots_.size()));
    slots_.emplace_back();
  }
  const uint32_t index = free_.back();
  free_.pop_back();
  Slot& slot = slots_[index];
  slot.used = true;
  slot.file = File{};
  slot.file.id = MakeId(index, slot.generation);
  slot.file.node = node;
  slot.file.holders.insert(process);
  slot.file.charge = std::move(charge);
  ++size_;
  return &slot.file;
}

File* FileTable::Find(FileId id) {
  const uint32_t index = IndexOf(id);
  if (index >= slots_.size()) return nullptr;
  Slot& slot = slots_[index];
  return slot.used && slot.file.id == id ? &slot.file : nullptr;
}

File* FileTable::FindHeldBy(FileId id, ProcessId process) {
  File* file = Find(id);
  // Ids are easy to guess: before the driver has answered and after the hang-up there is nothing to name.
  const bool open = file != nullptr && file->driver_file != 0 && !file->hung_up;
  return open && file->holders.contains(process) ? file : nullptr;
}

void FileTable::Remove(FileId id) {
  File* file = Find(id);
  if (file == nullptr) return;
  Slot& slot = slots_[IndexOf(id)];
  slot.used = false;
  slot.file = File{};
  // 0 is skipped: FileId::kNone must stay free of index 0's ids.
  slot.generation = slot.generation == kGenerationMask ? 1 : slot.generation + 1;
  free_.push_back(IndexOf(id));
  --size_;
}

void FileTable::ForgetProcess(ProcessId process) {
  for (Slot& slot : slots_)
    if (slot.used) slot.file.holders.erase(process);
}

size_t FileTable::exported_objects() const {
  size_t objects = 0;
  for (const Slot& slot : slots_) objects += slot.file.exported.size();
  return objects;
}

}  // namespace nvshim::broker
