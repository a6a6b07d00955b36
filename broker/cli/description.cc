#include "broker/cli/description.h"

#include <cstdio>
#include <nlohmann/json.hpp>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace nvshim::broker {
namespace {

using Json = nlohmann::ordered_json;

// CLI11 puts the values of IsMember behind the kind of an option, as in TEXT:{sim,kernel}.
void AddKindAndChoices(const std::string& kind_of_option, Json* description) {
  const size_t brace = kind_of_option.find(":{");
  (*description)["value"] = kind_of_option.substr(0, brace);
  if (brace == std::string::npos || !absl::EndsWith(kind_of_option, "}")) return;
  const std::string choices = kind_of_option.substr(brace + 2, kind_of_option.size() - brace - 3);
  (*description)["choices"] = std::vector<std::string>(absl::StrSplit(choices, ','));
}

Json OptionJson(const CLI::Option& option) {
  Json description;
  Json& names = description["names"] = Json::array();
  for (const std::string& name : option.get_snames()) names.push_back(absl::StrCat("-", name));
  for (const std::string& name : option.get_lnames()) names.push_back(absl::StrCat("--", name));
  if (names.empty()) names.push_back(option.get_name(true));
  description["description"] = option.get_description();
  if (option.get_items_expected_max() > 0) AddKindAndChoices(option.get_type_name(), &description);
  if (!option.get_default_str().empty()) description["default"] = option.get_default_str();
  description["repeatable"] = option.get_items_expected_max() > 1;
  description["setting"] = option.get_configurable();
  return description;
}

Json AppJson(const CLI::App& app) {
  Json description;
  description["name"] = app.get_name();
  description["description"] = app.get_description();
  description["runs_command"] = app.get_prefix_command();
  Json& options = description["options"] = Json::array();
  for (const CLI::Option* option : app.get_options())
    if (!option->get_group().empty()) options.push_back(OptionJson(*option));
  Json& subcommands = description["subcommands"] = Json::array();
  for (const CLI::App* subcommand : app.get_subcommands(nullptr))
    if (!subcommand->get_group().empty()) subcommands.push_back(AppJson(*subcommand));
  return description;
}

}  // namespace

std::string DescriptionJson(const CLI::App& app) { return AppJson(app).dump(1); }

void AddDescribeFlag(CLI::App& app) {
  app.add_flag_callback(
         "--describe",
         [&app] {
           std::puts(DescriptionJson(app).c_str());
           throw CLI::Success();  // how CLI11 ends a program early, with status 0
         },
         "Print what the command line takes as JSON")
      ->group("")
      ->configurable(false);
}

}  // namespace nvshim::broker
