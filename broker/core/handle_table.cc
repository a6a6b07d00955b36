#include "broker/core/handle_table.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "broker/core/limits.h"

namespace nvshim::broker {
namespace {

// Where RM's own numbering of clients starts (RS_CLIENT_HANDLE_BASE); guests see numbers of the same look.
constexpr uint32_t kClientHandleBase = 0xc1d00000;
constexpr uint32_t kClientHandleMask = 0x000fffff;

}  // namespace

bool HandleTable::HasRoomForClient() const { return clients_.size() < kClientsPerGuestMax; }

ClientHandle HandleTable::ChooseClient(uint32_t wanted) {
  if (wanted != 0 && IsFree(static_cast<ClientHandle>(wanted))) return static_cast<ClientHandle>(wanted);
  // Ends: the table holds fewer clients than the mask has numbers.
  for (;;) {
    const auto client = static_cast<ClientHandle>(kClientHandleBase | (next_client_++ & kClientHandleMask));
    if (IsFree(client)) return client;
  }
}

void HandleTable::AddClient(ClientHandle client, RealClientHandle real, FileId owner, uint32_t pid) {
  clients_.emplace(client, Client{real, owner, pid, {}});
}

std::optional<HandleTable::ClientView> HandleTable::FindClient(uint32_t handle_untrusted) const {
  const auto it = clients_.find(static_cast<ClientHandle>(handle_untrusted));
  if (it == clients_.end()) return std::nullopt;
  return ClientView{it->second.real, it->second.owner};
}

void HandleTable::AddObject(ClientHandle client, ObjectHandle object, ObjectHandle parent, uint32_t rm_class,
                            SharedCharge memory) {
  const auto it = clients_.find(client);
  if (it == clients_.end() || object == kNoObject) return;
  if (static_cast<uint32_t>(object) == static_cast<uint32_t>(client)) return;
  Objects& objects = it->second.objects;
  if (const auto old = objects.find(object); old != objects.end()) FreeTree(objects, old);
  const bool below_client = !objects.contains(parent);
  Object& made = objects[object];
  made.rm_class = rm_class;
  made.parent = below_client ? static_cast<ObjectHandle>(client) : parent;
  made.memory = std::move(memory);
  if (!below_client) LinkBelow(objects, parent, object);
  ++objects_;
}

void HandleTable::LinkBelow(Objects& objects, ObjectHandle parent, ObjectHandle child) {
  Object& above = objects.find(parent)->second;
  objects.find(child)->second.next_sibling = above.first_child;
  if (above.first_child != kNoObject) objects.find(above.first_child)->second.previous_sibling = child;
  above.first_child = child;
}

void HandleTable::Unlink(Objects& objects, const Object& child) {
  if (child.next_sibling != kNoObject)
    objects.find(child.next_sibling)->second.previous_sibling = child.previous_sibling;
  if (child.previous_sibling != kNoObject) {
    objects.find(child.previous_sibling)->second.next_sibling = child.next_sibling;
  } else if (const auto above = objects.find(child.parent); above != objects.end()) {
    above->second.first_child = child.next_sibling;
  }
}

void HandleTable::FreeTree(Objects& objects, Objects::iterator top) {
  Unlink(objects, top->second);
  std::vector<ObjectHandle> doomed = {top->first};
  while (!doomed.empty()) {
    const auto next = objects.find(doomed.back());
    doomed.pop_back();
    for (ObjectHandle child = next->second.first_child; child != kNoObject;
         child = objects.find(child)->second.next_sibling)
      doomed.push_back(child);
    objects.erase(next);
    --objects_;
  }
}

void HandleTable::Free(ClientHandle client, ObjectHandle object) {
  const auto it = clients_.find(client);
  if (it == clients_.end()) return;
  Objects& objects = it->second.objects;
  if (static_cast<uint32_t>(object) == static_cast<uint32_t>(client)) {
    objects_ -= objects.size();
    clients_.erase(it);
  } else if (const auto top = objects.find(object); top != objects.end()) {
    FreeTree(objects, top);
  }
}

void HandleTable::FreeClientsOf(FileId owner) {
  absl::erase_if(clients_, [&](const auto& entry) {
    if (entry.second.owner != owner) return false;
    objects_ -= entry.second.objects.size();
    return true;
  });
}

bool HandleTable::HasObject(ClientHandle client, ObjectHandle object) const {
  const auto it = clients_.find(client);
  return it != clients_.end() && it->second.objects.contains(object);
}

SharedCharge HandleTable::MemoryOf(ClientHandle client, ObjectHandle object) const {
  const auto it = clients_.find(client);
  if (it == clients_.end()) return nullptr;
  const auto found = it->second.objects.find(object);
  return found == it->second.objects.end() ? nullptr : found->second.memory;
}

// ---- What the process table shows ----

std::map<uint32_t, MemoryUsage> HandleTable::MemoryByPid() const {
  std::map<uint32_t, MemoryUsage> usages;
  for (const auto& [handle, client] : clients_) {
    if (client.pid == 0) continue;
    MemoryUsage& usage = usages[client.pid];
    for (const auto& [number, object] : client.objects) {
      if (object.memory == nullptr) continue;
      uint64_t& bytes = object.memory.use_count() == 1  ? usage.private_bytes
                        : object.rm_class != kDuplicate ? usage.shared_owned_bytes
                                                        : usage.shared_duplicate_bytes;
      bytes += object.memory->size_bytes();
    }
  }
  return usages;
}

std::set<uint32_t> HandleTable::PidsWithClass(uint32_t rm_class) const {
  std::set<uint32_t> pids;
  for (const auto& [handle, client] : clients_)
    if (client.pid != 0 && std::any_of(client.objects.begin(), client.objects.end(),
                                       [&](const auto& entry) { return entry.second.rm_class == rm_class; }))
      pids.insert(client.pid);
  return pids;
}

}  // namespace nvshim::broker
