// Fuzzer of lists of operations on the core: the histories of testing/property, their choices taken from the
// input. The first byte picks the driver version and the policy.
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "proto/abi/spec.h"
#include "testing/property/history.h"
#include "testing/property/policy_sets.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  using namespace nvshim::broker;
  const auto tables = nvshim::abi::Tables();
  const nvshim::abi::Table& table = *tables.data[data[0] % tables.size];
  History history(table, VerdictsOf(kPolicySets[data[0] / 64], table));
  Random random(std::span(data + 1, size - 1));
  while (!random.used_up() && history.problem().empty()) history.RunStep(random);
  history.End(random);
  if (history.problem().empty() && history.ReplayAgrees()) return 0;
  std::fprintf(stderr, "%s\n", history.problem().empty() ? "a replay differs" : history.problem().c_str());
  abort();
}
