// Fuzzer of the reader of policy files. What it accepts must rule on every call of every table, and what is
// withheld from guests for want of code must stay denied.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "broker/core/verdict.h"
#include "broker/policy/policy.h"
#include "proto/abi/spec.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using nvshim::broker::Policy;
  const std::string text(reinterpret_cast<const char*>(data), size);
  const auto policy = Policy::Parse({{"input", text}}, {});
  if (!policy.ok()) return 0;
  for (const nvshim::abi::Table* table : nvshim::abi::Tables())
    for (const nvshim::broker::Ruling& ruling : policy->RulingsOf(*table))
      if (!nvshim::broker::HasCode(ruling.kind, *ruling.spec, ruling.verdict)) abort();
  return 0;
}
