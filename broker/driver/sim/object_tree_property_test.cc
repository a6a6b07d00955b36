// The object tree against a naive model: after any history of allocations, needs and frees both hold the same
// objects.
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <map>
#include <set>
#include <vector>

#include "broker/driver/sim/object_tree.h"

namespace nvshim::broker::sim {
namespace {

// All objects by handle, with the handles each cannot outlive; freeing looks for them again and again.
struct Model {
  std::map<uint32_t, std::set<uint32_t>> objects;

  void Free(uint32_t handle) {
    if (objects.erase(handle) == 0) return;
    for (bool again = true; again;) {
      again = false;
      for (auto it = objects.begin(); it != objects.end(); ++it) {
        bool orphan = false;
        for (uint32_t needed : it->second) orphan |= !objects.contains(needed);
        if (!orphan) continue;
        objects.erase(it);
        again = true;
        break;
      }
    }
  }
};

struct Operation {
  uint8_t what;  // % 3: 0, 1 allocate; 2 free
  uint8_t parent;
  uint8_t handle;
  uint8_t need;
};

void showValue(const Operation& operation, std::ostream& out) {
  out << (operation.what % 3 == 2 ? "free " : "allocate ") << int{operation.handle % 16} << " below "
      << int{operation.parent % 16} << " needing " << int{operation.need % 16};
}

rc::Gen<Operation> AnyOperation() {
  return rc::gen::build<Operation>(rc::gen::set(&Operation::what), rc::gen::set(&Operation::parent),
                                   rc::gen::set(&Operation::handle), rc::gen::set(&Operation::need));
}

RC_GTEST_PROP(ObjectTreeProperty, HoldsTheSameObjectsAsTheModel, ()) {
  // Handles 1..15; 0 stands for the client. Context DMAs may hang below anything.
  const ClassRule& rule = *FindClass(0x0002);
  ObjectTree tree;
  uint32_t client_handle = 0;
  RC_ASSERT(tree.NewClient(1, 0, &client_handle) == NV_OK);
  Client& client = *tree.FindClient(client_handle, 1);
  Model model;
  model.objects[client_handle] = {};
  const auto handle_of = [client_handle](uint8_t raw) { return raw % 16 == 0 ? client_handle : raw % 16u; };

  for (const Operation& operation : *rc::gen::container<std::vector<Operation>>(AnyOperation())) {
    const uint32_t handle = operation.handle % 15 + 1, parent = handle_of(operation.parent),
                   need = handle_of(operation.need);
    if (operation.what % 3 == 2) {
      tree.Free(client, handle);
      model.Free(handle);
    } else {
      Object* object = nullptr;
      const NvStatus status = tree.Allocate(client, parent, handle, rule, &object);
      const bool allowed = model.objects.contains(parent) && !model.objects.contains(handle);
      RC_ASSERT((status == NV_OK) == allowed);
      if (!allowed) continue;
      model.objects[handle] = {parent};
      if (tree.AddNeed(client, *object, need) == NV_OK) model.objects[handle].insert(need);
    }
    RC_ASSERT(client.objects.size() == model.objects.size());
    RC_ASSERT(tree.objects() == model.objects.size() - 1);
    for (const auto& [each, unused] : model.objects) RC_ASSERT(client.Find(each) != nullptr);
  }
}

}  // namespace
}  // namespace nvshim::broker::sim
