// The set of reported numbers is bounded: a hostile caller may try all of them.
#include "broker/driver/sim/unknowns.h"

#include <cstdio>

#include "broker/driver/sim/limits.h"

namespace nvshim::broker::sim {
namespace {

const char* SpaceName(NumberSpace space) {
  switch (space) {
    case NumberSpace::kControl:
      return "control";
    case NumberSpace::kClass:
      return "class";
    case NumberSpace::kEscape:
      return "escape";
    case NumberSpace::kUvm:
      return "UVM request";
  }
  return "number";
}

}  // namespace

void Unknowns::Report(NumberSpace space, uint32_t number, uint32_t size_bytes) {
  switch (space) {
    case NumberSpace::kControl:
      ++counts_.controls;
      break;
    case NumberSpace::kClass:
      ++counts_.classes;
      break;
    case NumberSpace::kEscape:
      ++counts_.escapes;
      break;
    case NumberSpace::kUvm:
      ++counts_.uvm;
      break;
  }
  if (!log_ || reported_.size() >= kUnknownNumbersMax || !reported_.emplace(space, number).second) return;
  char line[96];
  std::snprintf(line, sizeof(line), "%s 0x%x with %u bytes of parameters", SpaceName(space), number,
                size_bytes);
  log_(line);
}

}  // namespace nvshim::broker::sim
