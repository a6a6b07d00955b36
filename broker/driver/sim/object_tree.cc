// Free is a work list, not a recursion: events and context DMAs may hang below any object, so a hostile chain
// is as deep as a client may have objects.
#include "broker/driver/sim/object_tree.h"

#include <algorithm>

#include "broker/driver/sim/limits.h"

namespace nvshim::broker::sim {
namespace {

// RM counts client handles up from here (RS_CLIENT_HANDLE_BASE), in a table of 2^20.
constexpr uint32_t kClientHandleBase = 0xc1d00000;
constexpr uint32_t kClientHandleMask = 0x000fffff;
// And generates object handles from here (RS_UNIQUE_HANDLE_BASE), 2^19 of them.
constexpr uint32_t kObjectHandleBase = 0xcaf00000;
constexpr uint32_t kObjectHandleMask = 0x0007ffff;

}  // namespace

NvStatus ObjectTree::NewClient(DriverFileId owner, uint32_t wanted, uint32_t* handle) {
  if (clients_.size() >= kClientsMax) return NV_ERR_INSUFFICIENT_RESOURCES;
  if (wanted != 0 && clients_.contains(wanted)) return NV_ERR_INSERT_DUPLICATE_NAME;
  // Ends: fewer than kClientsMax of the 2^20 candidates are taken.
  while (wanted == 0 || clients_.contains(wanted))
    wanted = kClientHandleBase | (next_client_++ & kClientHandleMask);

  auto client = std::make_unique<Client>();
  client->handle = wanted;
  client->owner = owner;
  auto self = std::make_unique<Object>();
  self->handle = wanted;
  self->class_number = NV01_ROOT_CLIENT;
  self->kind = Kind::kClient;
  client->objects.emplace(wanted, std::move(self));
  clients_.emplace(wanted, std::move(client));
  clients_of_file_[owner].insert(wanted);
  *handle = wanted;
  return NV_OK;
}

Client* ObjectTree::FindAnyClient(uint32_t handle) {
  auto it = clients_.find(handle);
  return it == clients_.end() ? nullptr : it->second.get();
}

Client* ObjectTree::FindClient(uint32_t handle, DriverFileId ctl_file) {
  Client* client = FindAnyClient(handle);
  return client != nullptr && client->owner == ctl_file ? client : nullptr;
}

uint32_t ObjectTree::GenerateHandle(Client& client) const {
  // Ends: kObjectsPerClientMax is far below the number of candidates.
  static_assert(kObjectsPerClientMax < kObjectHandleMask);
  uint32_t handle;
  do {
    handle = kObjectHandleBase | (client.next_generated++ & kObjectHandleMask);
  } while (client.objects.contains(handle));
  return handle;
}

NvStatus ObjectTree::Allocate(Client& client, uint32_t parent_handle, uint32_t wanted, const ClassRule& rule,
                              Object** object) {
  Object* parent = client.Find(parent_handle);
  if (parent == nullptr) return NV_ERR_OBJECT_NOT_FOUND;
  if ((rule.parents & Bit(parent->kind)) == 0) return NV_ERR_INVALID_OBJECT_PARENT;
  if (client.objects.size() >= kObjectsPerClientMax || object_count_ >= kObjectsMax)
    return NV_ERR_INSUFFICIENT_RESOURCES;
  if (wanted == 0) wanted = GenerateHandle(client);
  if (client.objects.contains(wanted)) return NV_ERR_INSERT_DUPLICATE_NAME;

  auto made = std::make_unique<Object>();
  made->handle = wanted;
  made->class_number = rule.number;
  made->kind = rule.kind;
  made->gpu = parent->gpu;
  made->parent = parent_handle;
  made->next_sibling = parent->first_child;
  if (Object* sibling = client.Find(parent->first_child)) sibling->previous_sibling = wanted;
  parent->first_child = wanted;
  *object = made.get();
  client.objects.emplace(wanted, std::move(made));
  ++object_count_;
  return NV_OK;
}

NvStatus ObjectTree::AddNeed(Client& client, Object& object, uint32_t needed) {
  Object* target = client.Find(needed);
  if (target == nullptr) return NV_ERR_OBJECT_NOT_FOUND;
  // Edges lead from younger objects to older ones only, so that no cycle can arise: Free relies on it.
  if (target == &object || object.first_child != 0 || !object.dependents.empty())
    return NV_ERR_INVALID_ARGUMENT;
  if (target->dependents.insert(object.handle).second) object.needs.push_back(needed);
  return NV_OK;
}

void ObjectTree::Unlink(Client& client, Object& object) {
  if (Object* next = client.Find(object.next_sibling)) next->previous_sibling = object.previous_sibling;
  if (Object* previous = client.Find(object.previous_sibling)) {
    previous->next_sibling = object.next_sibling;
  } else if (Object* parent = client.Find(object.parent)) {
    parent->first_child = object.next_sibling;
  }
  for (uint32_t needed : object.needs)
    if (Object* target = client.Find(needed)) target->dependents.erase(object.handle);
}

void ObjectTree::Free(Client& client, uint32_t handle) {
  if (handle == client.handle) {
    object_count_ -= client.objects.size() - 1;
    auto of_file = clients_of_file_.find(client.owner);
    of_file->second.erase(handle);
    if (of_file->second.empty()) clients_of_file_.erase(of_file);
    clients_.erase(handle);  // `client` is gone
    return;
  }
  std::vector<uint32_t> work = {handle};
  while (!work.empty()) {
    Object* object = client.Find(work.back());
    if (object == nullptr) {
      work.pop_back();
      continue;
    }
    if (object->first_child != 0) {  // children first, as RM does
      work.push_back(object->first_child);
    } else if (!object->dependents.empty()) {
      work.push_back(*object->dependents.begin());
    } else {
      Unlink(client, *object);
      client.objects.erase(object->handle);
      --object_count_;
      work.pop_back();
    }
  }
}

void ObjectTree::CloseFile(DriverFileId owner) {
  auto it = clients_of_file_.find(owner);
  if (it == clients_of_file_.end()) return;
  const std::vector<uint32_t> handles(it->second.begin(), it->second.end());
  for (uint32_t handle : handles) Free(*clients_.at(handle), handle);
}

}  // namespace nvshim::broker::sim
