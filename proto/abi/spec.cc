#include "proto/abi/spec.h"

#include <algorithm>

namespace nvshim::abi {

const Spec* Find(const List<Spec>& specs, uint32_t number, uint32_t size) {
  const Spec* spec = std::lower_bound(specs.begin(), specs.end(), number,
                                      [](const Spec& spec, uint32_t number) { return spec.number < number; });
  for (; spec != specs.end() && spec->number == number; ++spec)
    if (size == 0 || spec->size == size) return spec;
  return nullptr;
}

const Table* FindTable(std::string_view driver_version) {
  for (const Table* table : Tables())
    if (table->driver_version == driver_version) return table;
  return nullptr;
}

}  // namespace nvshim::abi
