#include "broker/settings.h"

#define TOML_EXCEPTIONS 0
#include <toml++/toml.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <optional>
#include <sstream>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

namespace nvshim::broker {
namespace {

constexpr char kVariablePrefix[] = "GPU_BROKER_";

// A misspelt name is this near to the right one: more edits make another word.
constexpr size_t kEditsMax = 3;

absl::Status Complaint(const std::string& where, const std::string& what) {
  return absl::InvalidArgumentError(absl::StrCat(where, ": ", what));
}

std::string WhereOf(const std::string& file, const toml::source_region& source) {
  return absl::StrCat(file, ":", source.begin.line);
}

// As on the command line; nothing for what cannot be said there.
std::optional<std::string> TextOf(const toml::node& node) {
  if (const auto* text = node.as_string()) return text->get();
  if (const auto* flag = node.as_boolean()) return flag->get() ? "true" : "false";
  if (const auto* number = node.as_integer()) return std::to_string(number->get());
  if (const auto* number = node.as_floating_point()) {
    std::ostringstream text;
    text << number->get();
    return text.str();
  }
  return std::nullopt;
}

absl::StatusOr<Setting> SettingOf(const std::string& file, const std::string& name, const toml::node& node) {
  Setting setting{name, {}, WhereOf(file, node.source())};
  const auto* list = node.as_array();
  if (list == nullptr) {
    const auto text = TextOf(node);
    if (!text)
      return Complaint(setting.where, absl::StrCat("'", name, "' wants a value or a list of values"));
    setting.values.push_back(*text);
    return setting;
  }
  for (const toml::node& one : *list) {
    const auto text = TextOf(one);
    if (!text)
      return Complaint(WhereOf(file, one.source()), absl::StrCat("'", name, "' wants a list of values"));
    setting.values.push_back(*text);
  }
  return setting;
}

absl::Status ReadFile(const std::string& path, std::map<std::string, Setting>* settings) {
  const toml::parse_result parsed = toml::parse_file(path);
  if (!parsed)
    return Complaint(WhereOf(path, parsed.error().source()), std::string(parsed.error().description()));
  for (const auto& [key, node] : parsed.table()) {
    const std::string name(key.str());
    auto setting = SettingOf(path, name, node);
    if (!setting.ok()) return setting.status();
    settings->insert_or_assign(name, *std::move(setting));
  }
  return absl::OkStatus();
}

size_t EditsBetween(const std::string& a, const std::string& b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i);
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({replaced, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row[b.size()];
}

// What a person may have meant by `name`, as the end of a complaint.
std::string Suggestion(const CLI::App& app, const std::string& name) {
  std::string nearest;
  size_t edits = kEditsMax + 1;
  for (const CLI::Option* option : app.get_options())
    for (const std::string& candidate : option->get_lnames()) {
      const size_t apart = EditsBetween(name, candidate);
      if (!option->get_configurable() || apart >= edits) continue;
      edits = apart;
      nearest = candidate;
    }
  return nearest.empty() ? "; gpu-broker --help lists them, with two dashes before each"
                         : absl::StrCat("; do you mean '", nearest, "'?");
}

absl::Status Give(CLI::Option& option, const Setting& setting) {
  if (!option.empty()) return absl::OkStatus();  // said where it counts more
  try {                                          // which is how CLI11 refuses a value
    option.add_result(setting.values);
    option.run_callback();
  } catch (const CLI::Error& error) {
    return Complaint(setting.where, error.what());
  }
  return absl::OkStatus();
}

std::string VariableOf(const std::string& name) {
  return kVariablePrefix + absl::StrReplaceAll(absl::AsciiStrToUpper(name), {{"-", "_"}});
}

}  // namespace

absl::StatusOr<std::vector<std::string>> FindConfigFiles(const std::string& path, bool may_be_missing) {
  std::vector<std::string> paths;
  std::error_code error;
  if (std::filesystem::exists(path, error)) {
    paths.push_back(path);
  } else if (!may_be_missing) {
    return Complaint(path, "there is no such file");
  }
  for (const auto& entry : std::filesystem::directory_iterator(path + ".d", error))
    if (entry.path().extension() == ".toml") paths.push_back(entry.path().string());
  std::sort(paths.begin(), paths.end());  // a folder's name begins with that of the file, which is first
  return paths;
}

absl::StatusOr<std::vector<Setting>> ReadConfigFiles(const std::vector<std::string>& paths) {
  std::map<std::string, Setting> by_name;
  for (const std::string& file : paths)
    if (auto status = ReadFile(file, &by_name); !status.ok()) return status;
  std::vector<Setting> settings;
  for (auto& [name, setting] : by_name) settings.push_back(std::move(setting));
  return settings;
}

absl::Status ApplySettings(CLI::App& app, const std::vector<Setting>& files,
                           const std::function<const char*(const char*)>& environment) {
  for (CLI::Option* option : app.get_options()) {
    if (!option->get_configurable()) continue;
    for (const std::string& name : option->get_lnames()) {
      const std::string variable = VariableOf(name);
      const char* value = environment(variable.c_str());
      if (value == nullptr) continue;
      if (auto status = Give(*option, {name, {value}, variable}); !status.ok()) return status;
    }
  }
  for (const Setting& setting : files) {
    CLI::Option* option = app.get_option_no_throw("--" + setting.name);
    if (option == nullptr || !option->get_configurable())
      return Complaint(setting.where, absl::StrCat("there is no setting '", setting.name, "'",
                                                   Suggestion(app, setting.name)));
    if (auto status = Give(*option, setting); !status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace nvshim::broker
