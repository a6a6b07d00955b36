#include "broker/driver/sim/duplicate.h"

namespace nvshim::broker::sim {
namespace {

bool MayBeDuplicated(Kind kind) {
  switch (kind) {
    case Kind::kSystemMemory:
    case Kind::kVideoMemory:
    case Kind::kVirtualMemory:
    case Kind::kOsDescMemory:
    case Kind::kVaSpace:
    case Kind::kContextShare:
    case Kind::kChannelGroup:
    case Kind::kUserMode:
      return true;
    default:
      return false;
  }
}

}  // namespace

NvStatus TakeDuplicate(const Client& client, uint32_t handle, Duplicate* duplicate) {
  const Object* object = client.Find(handle);
  if (object == nullptr) return NV_ERR_OBJECT_NOT_FOUND;
  const ClassRule* rule = FindClass(object->class_number);
  if (rule == nullptr || !MayBeDuplicated(object->kind)) return NV_ERR_INVALID_ARGUMENT;
  *duplicate = {rule, object->memory, object->address_space, object->gpu};
  return NV_OK;
}

NvStatus PutDuplicate(ObjectTree& tree, Client& client, uint32_t parent, uint32_t wanted,
                      const Duplicate& duplicate, uint32_t* handle) {
  Object* object = nullptr;
  const NvStatus status = tree.Allocate(client, parent, wanted, *duplicate.rule, &object);
  if (status != NV_OK) return status;
  object->memory = duplicate.memory;
  object->address_space = duplicate.address_space;
  object->gpu = duplicate.gpu;
  *handle = object->handle;
  return NV_OK;
}

}  // namespace nvshim::broker::sim
