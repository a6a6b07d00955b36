#include "broker/driver/kernel/guest_mappings.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace nvshim::broker::kernel {

bool GuestMappings::Add(int fd, const MappedObject& object) {
  if (mappings_.size() >= kGuestMappingsMax) Refresh();
  if (mappings_.size() >= kGuestMappingsMax || !kernel_.Watch(fd, next_id_)) return false;
  mappings_.emplace(next_id_++, object);
  return true;
}

size_t GuestMappings::CountOf(uint32_t client, uint32_t memory) {
  Refresh();
  return static_cast<size_t>(std::count_if(mappings_.begin(), mappings_.end(), [&](const auto& entry) {
    return entry.second.client == client && entry.second.memory == memory;
  }));
}

bool GuestMappings::AnyOf(uint32_t client) {
  Refresh();
  return std::any_of(mappings_.begin(), mappings_.end(),
                     [&](const auto& entry) { return entry.second.client == client; });
}

bool GuestMappings::Owe(DriverFileId file, const MappedObject& object, std::vector<uint8_t> bytes) {
  const auto owed = std::count_if(owed_.begin(), owed_.end(), [&](const Unmapping& one) {
    return one.object.client == object.client && one.object.memory == object.memory;
  });
  if (static_cast<size_t>(owed) >= CountOf(object.client, object.memory)) return false;
  owed_.push_back({file, object, std::move(bytes)});
  return true;
}

std::vector<GuestMappings::Unmapping> GuestMappings::TakeDue() {
  std::vector<Unmapping> due;
  if (owed_.empty()) return due;
  Refresh();
  absl::flat_hash_set<std::pair<uint32_t, uint32_t>> mapped;
  for (const auto& [id, object] : mappings_) mapped.emplace(object.client, object.memory);
  const auto first_due = std::stable_partition(owed_.begin(), owed_.end(), [&](const Unmapping& one) {
    return mapped.contains({one.object.client, one.object.memory});
  });
  due.assign(std::make_move_iterator(first_due), std::make_move_iterator(owed_.end()));
  owed_.erase(first_due, owed_.end());
  return due;
}

void GuestMappings::Refresh() {
  if (mappings_.empty()) return;
  const absl::flat_hash_set<uint64_t> held = kernel_.Held();
  absl::erase_if(mappings_, [&](const auto& entry) { return !held.contains(entry.first); });
}

}  // namespace nvshim::broker::kernel
