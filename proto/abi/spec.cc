#include "proto/abi/spec.h"

#include <algorithm>
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
  const uint16_t* const end = list.indices + list.size;
  const uint16_t* at = std::lower_bound(list.indices, end, number, [&list](uint16_t index, uint32_t number) {
    return list.specs[index].number < number;
  });
  for (; at != end && list.specs[*at].number == number; ++at)
    if (size == 0 || list.specs[*at].size == size) return &list.specs[*at];
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
  if (const Table* table = FindTable(driver_version)) return {table, true};
  const auto wanted = ParseRelease(driver_version);
  if (!wanted) return {nullptr, false};
  const Table* older = nullptr;
  const Table* newer = nullptr;
  for (const Table* table : Tables()) {  // oldest first
    const auto release = ParseRelease(table->driver_version);
    if (!release || release->front() != wanted->front()) continue;
    if (*release <= *wanted)
      older = table;
    else if (newer == nullptr)
      newer = table;
  }
  return {older != nullptr ? older : newer, false};
}

}  // namespace nvshim::abi
