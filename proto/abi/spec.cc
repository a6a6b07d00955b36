#include "proto/abi/spec.h"

#include <array>
#include <charconv>
#include <optional>
#include <system_error>

namespace nvshim::abi {
namespace {

// "580.95.05" as {580, 95, 5}, "580.142" as {580, 142, 0}: releases are numbered, not spelled, and 95 comes
// before 126. Nothing for what is no version.
using Release = std::array<uint32_t, 3>;

std::optional<Release> ParseRelease(std::string_view version) {
  Release release = {};
  const char* at = version.data();
  const char* const end = at + version.size();
  for (size_t i = 0; i < release.size(); ++i) {
    if (i == 2 && at == end) return release;
    if (i != 0 && (at == end || *at++ != '.')) return std::nullopt;
    const auto [next, error] = std::from_chars(at, end, release[i]);
    if (error != std::errc()) return std::nullopt;
    at = next;
  }
  return at == end ? std::optional(release) : std::nullopt;
}

}  // namespace

const Spec* Find(const SpecList& list, uint32_t number, uint32_t size) {
  if (list.slot_bits == 0) return nullptr;
  const uint32_t mask = (1u << list.slot_bits) - 1;
  for (uint32_t slot = SlotOf(number, list.slot_bits); list.slots[slot] != kEmptySlot;
       slot = (slot + 1) & mask) {
    const Spec& spec = list.specs[list.slots[slot]];
    if (spec.number == number && (size == 0 || spec.size == size)) return &spec;
  }
  return nullptr;
}

const Spec* FindControl(const Table& table, uint32_t cmd) {
  const Spec* spec = Find(table.controls, cmd);
  return spec == nullptr && IsGssLegacy(cmd) ? table.gss_legacy : spec;
}

const Table* FindTable(std::string_view driver_version) {
  for (const Table* table : Tables())
    if (table->driver_version == driver_version) return table;
  return nullptr;
}

Choice ChooseTable(std::string_view driver_version) {
  Choice choice = {};
  const auto wanted = ParseRelease(driver_version);
  if (!wanted) return choice;
  const auto is_of_branch = [&wanted](const Table* table) {
    return table != nullptr && ParseRelease(table->driver_version)->front() == wanted->front();
  };
  for (const Table* table : Tables()) {  // oldest first
    if (*ParseRelease(table->driver_version) <= *wanted)
      choice.below = table;
    else if (choice.above == nullptr)
      choice.above = table;
  }
  if (is_of_branch(choice.below))
    choice.table = choice.below;
  else if (is_of_branch(choice.above))
    choice.table = choice.above;
  choice.exact = choice.table != nullptr && choice.table->driver_version == driver_version;
  return choice;
}

}  // namespace nvshim::abi
