#include "broker/core/handle_table.h"

#include <algorithm>

#include "broker/core/limits.h"

namespace nvshim::broker {
namespace {

// Where RM's own numbering of clients starts (RS_CLIENT_HANDLE_BASE); guests see numbers of the same look.
constexpr uint32_t kClientHandleBase = 0xc1d00000;
constexpr uint32_t kClientHandleMask = 0x000fffff;

}  // namespace

bool HandleTable::HasRoomForClient() const { return clients_.size() < kClientsPerGuestMax; }

bool HandleTable::HasRoomForObject() const { return objects_ < kObjectsPerGuestMax; }

ClientHandle HandleTable::ChooseClient(uint32_t wanted) {
  if (wanted != 0 && IsFree(static_cast<ClientHandle>(wanted))) return static_cast<ClientHandle>(wanted);
  // Ends: the table holds fewer clients than the mask has numbers.
  for (;;) {
    const auto client = static_cast<ClientHandle>(kClientHandleBase | (next_client_++ & kClientHandleMask));
    if (IsFree(client)) return client;
  }
}

void HandleTable::AddClient(ClientHandle client, RealClientHandle real, FileId owner) {
  clients_.emplace(client, Client{real, owner, {}});
}

std::optional<HandleTable::ClientView> HandleTable::FindClient(uint32_t handle_untrusted) const {
  const auto it = clients_.find(static_cast<ClientHandle>(handle_untrusted));
  if (it == clients_.end()) return std::nullopt;
  return ClientView{it->second.real, it->second.owner};
}

void HandleTable::AddObject(ClientHandle client, ObjectHandle object, ObjectHandle parent,
                            uint32_t rm_class) {
  const auto it = clients_.find(client);
  if (it == clients_.end() || static_cast<uint32_t>(object) == static_cast<uint32_t>(client)) return;
  auto& objects = it->second.objects;
  const auto above = objects.find(parent);
  const bool below_client = above == objects.end() || parent == object;
  if (!below_client && !objects.contains(object)) above->second.children.push_back(object);
  const ObjectHandle known_parent = below_client ? static_cast<ObjectHandle>(client) : parent;
  if (objects.try_emplace(object, Object{rm_class, known_parent, {}}).second) ++objects_;
}

void HandleTable::Free(ClientHandle client, ObjectHandle object) {
  const auto it = clients_.find(client);
  if (it == clients_.end()) return;
  auto& objects = it->second.objects;
  if (static_cast<uint32_t>(object) == static_cast<uint32_t>(client)) {
    objects_ -= objects.size();
    clients_.erase(it);
    return;
  }
  const auto top = objects.find(object);
  if (top == objects.end()) return;
  const auto above = objects.find(top->second.parent);
  if (above != objects.end()) std::erase(above->second.children, object);
  std::vector<ObjectHandle> doomed = {object};
  while (!doomed.empty()) {
    const auto next = objects.find(doomed.back());
    doomed.pop_back();
    if (next == objects.end()) continue;
    doomed.insert(doomed.end(), next->second.children.begin(), next->second.children.end());
    objects.erase(next);
    --objects_;
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

}  // namespace nvshim::broker
