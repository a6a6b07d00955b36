#include "testing/property/policy_sets.h"

#include "broker/policy/policy.h"

namespace nvshim::broker {
namespace {

bool MakesClient(const abi::Spec& rm_class) {
  return rm_class.number == 0x0 || rm_class.number == 0x1 || rm_class.number == 0x41;
}

// Read once: the files do not change.
const Policy& BuiltIn(bool shadow) {
  static const auto read = [](bool shadow) {
    PolicyOptions options;
    options.shadow = shadow;
    return *Policy::Load(options);
  };
  static const Policy in_force = read(false), tried_out = read(true);
  return shadow ? tried_out : in_force;
}

}  // namespace

Verdicts VerdictsOf(PolicySet set, const abi::Table& table) {
  if (set == PolicySet::kTable) return Verdicts::OfTable(table);
  Verdicts verdicts = BuiltIn(set == PolicySet::kShadow).VerdictsOf(table);
  if (set != PolicySet::kSparse) return verdicts;
  size_t i = 0;
  for (const abi::Spec& control : table.controls)
    if (++i % 3 == 0) verdicts.Set(control, Verdict::kDeny);
  for (const abi::Spec& rm_class : table.classes)
    if (++i % 3 == 0 && !MakesClient(rm_class)) verdicts.Set(rm_class, Verdict::kDeny);
  return verdicts;
}

}  // namespace nvshim::broker
