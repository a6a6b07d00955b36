#include "broker/driver/sim/dma_mappings.h"

#include <algorithm>

#include "broker/driver/sim/limits.h"

namespace nvshim::broker::sim {
namespace {

void End(DmaMapping& mapping) {
  mapping.space->Unmap(mapping.base, mapping.length);
  mapping.length = 0;
}

}  // namespace

DmaMappings::~DmaMappings() {
  for (const std::shared_ptr<DmaMapping>& mapping : mappings_) End(*mapping);
}

bool DmaMappings::HasRoom() {
  if (mappings_.size() >= kDmaMappingsPerObjectMax)
    std::erase_if(mappings_, [](const auto& mapping) { return mapping->length == 0; });
  return mappings_.size() < kDmaMappingsPerObjectMax;
}

bool DmaMappings::Add(const DmaMapping& mapping, DmaMappings& virtual_memory, DmaMappings& memory) {
  if (!virtual_memory.HasRoom() || !memory.HasRoom()) return false;
  const auto shared = std::make_shared<DmaMapping>(mapping);
  virtual_memory.mappings_.push_back(shared);
  memory.mappings_.push_back(shared);
  return true;
}

NvStatus DmaMappings::Remove(uint64_t base, uint64_t length) {
  const auto it = std::find_if(mappings_.begin(), mappings_.end(), [base](const auto& mapping) {
    return mapping->base == base && mapping->length != 0;
  });
  if (it == mappings_.end()) return NV_ERR_OBJECT_NOT_FOUND;
  if (length != 0 && length != (*it)->length) return NV_ERR_NOT_SUPPORTED;
  End(**it);
  mappings_.erase(it);
  return NV_OK;
}

}  // namespace nvshim::broker::sim
