#include "broker/driver/table_for.h"

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace nvshim::broker {
namespace {

std::string Nearest(const abi::Choice& choice) {
  const auto version = [](const abi::Table* table) { return std::string(table->driver_version); };
  if (choice.below == nullptr && choice.above == nullptr) return "";
  if (choice.below == nullptr) return absl::StrCat("; the nearest is ", version(choice.above));
  if (choice.above == nullptr) return absl::StrCat("; the nearest is ", version(choice.below));
  return absl::StrCat("; the nearest are ", version(choice.below), " and ", version(choice.above));
}

}  // namespace

absl::StatusOr<abi::Choice> TableFor(std::string_view driver_version) {
  const abi::Choice choice = abi::ChooseTable(driver_version);
  if (choice.table != nullptr) return choice;
  std::vector<std::string> known;
  for (const abi::Table* table : abi::Tables()) known.emplace_back(table->driver_version);
  return absl::FailedPreconditionError(absl::StrCat(
      "NVIDIA driver \"", std::string(driver_version), "\" is of no branch that has tables", Nearest(choice),
      ". There are tables for ", absl::StrJoin(known, ", "),
      ", which also serve other releases of the same branches (the number before the first dot)"));
}

}  // namespace nvshim::broker
