#include "broker/supervisor/guest_table.h"

#include <algorithm>

namespace nvshim::broker {

std::optional<GuestTable::Key> GuestTable::Find(const std::string& name) const {
  const auto it = by_name_.find(name);
  return it == by_name_.end() ? std::nullopt : std::optional(it->second);
}

GuestTable::Key GuestTable::Add(uint32_t worker, const std::string& name, uint64_t instance) {
  const Key key{worker, next_number_};
  Adopt(key, {.name = name, .instance = instance});
  return key;
}

void GuestTable::Adopt(Key key, Guest guest) {
  next_number_ = std::max(next_number_, key.second + 1);
  by_name_.try_emplace(guest.name, key);
  guests_.insert_or_assign(key, std::move(guest));
}

std::vector<GuestTable::Key> GuestTable::KeysOf(const std::string& name_or_number) const {
  std::vector<Key> named, numbered;
  for (const auto& [key, guest] : guests_) {
    if (guest.name == name_or_number) named.push_back(key);
    if (std::to_string(key.second) == name_or_number) numbered.push_back(key);
  }
  return named.empty() ? numbered : named;
}

void GuestTable::NoteAttached(Key key) {
  Guest& guest = guests_.at(key);
  ++guest.attached;
  guest.empty_since.reset();
  guest.is_killed = false;
}

bool GuestTable::NoteEmpty(Key key, uint64_t attached, Time now) {
  const auto it = guests_.find(key);
  if (it == guests_.end() || it->second.attached != attached) return false;
  it->second.empty_since = it->second.is_killed ? Time::min() : now;
  return true;
}

std::vector<GuestTable::Key> GuestTable::EmptySince(Time since) const {
  std::vector<Key> keys;
  for (const auto& [key, guest] : guests_)
    if (guest.empty_since && *guest.empty_since <= since) keys.push_back(key);
  return keys;
}

std::optional<GuestTable::Time> GuestTable::OldestEmpty() const {
  std::optional<Time> oldest;
  for (const auto& [key, guest] : guests_)
    if (guest.empty_since && (!oldest || *guest.empty_since < *oldest)) oldest = guest.empty_since;
  return oldest;
}

void GuestTable::Remove(Key key) {
  const auto it = guests_.find(key);
  if (it == guests_.end()) return;
  const auto name = by_name_.find(it->second.name);
  if (name != by_name_.end() && name->second == key) by_name_.erase(name);
  guests_.erase(it);
}

size_t GuestTable::RemoveWorker(uint32_t worker) {
  std::vector<Key> keys;
  for (auto it = guests_.lower_bound({worker, 0}); it != guests_.end() && it->first.first == worker; ++it)
    keys.push_back(it->first);
  for (const Key& key : keys) Remove(key);
  return keys.size();
}

size_t GuestTable::busy() const {
  return static_cast<size_t>(std::count_if(guests_.begin(), guests_.end(),
                                           [](const auto& entry) { return !entry.second.empty_since; }));
}

}  // namespace nvshim::broker
