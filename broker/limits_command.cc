#include "broker/limits_command.h"

#include <memory>
#include <nlohmann/json.hpp>
#include <string_view>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace nvshim::broker {
namespace {

std::string Names() {
  std::string names;
  for (const ResourceInfo& info : kResources)
    absl::StrAppend(&names, names.empty() ? "" : ", ", std::string(info.name));
  return names;
}

absl::Status Complaint(const std::string& what) { return absl::InvalidArgumentError(what); }

void Set(const std::vector<std::string>& values, bool is_uid, Limits& limits) {
  for (const std::string& value : values)
    if (const auto one = ParseLimit(value, is_uid); one.ok()) limits[one->kind] = one->limit;
}

void AddFlag(CLI::App& app, const std::string& name, const std::string& whose, bool is_uid,
             std::vector<std::string>& values) {
  app.add_option(name, values,
                 absl::StrCat("The most of a kind that ", whose,
                              " may have at a time, as in objects=1000 or pinned_memory=4GiB; none is no "
                              "limit. gpu-broker limits list prints the kinds"))
      ->check(LimitValidator(is_uid))
      ->allow_extra_args(false);
}

std::string Limit(const ResourceInfo& info) {
  if (info.guest_default == kNoLimit) return "none";
  if (info.unit == Unit::kBytes) return absl::StrCat(info.guest_default >> 20, "MiB");
  return absl::StrCat(info.guest_default);
}

std::string_view UnitName(Unit unit) {
  return unit == Unit::kBytes ? "bytes" : unit == Unit::kPerSecond ? "per second" : "number";
}

}  // namespace

std::string ToBytes(std::string& size) {
  return size.starts_with('-') ? "a size is not negative" : CLI::AsSizeValue(/*kb_is_1000=*/false)(size);
}

absl::StatusOr<KindLimit> ParseLimit(const std::string& text, bool is_uid) {
  const size_t equals = text.find('=');
  const auto resource = FindResource(text.substr(0, equals));
  if (equals == std::string::npos || !resource)
    return Complaint(absl::StrCat("'", text, "' is not KIND=N; KIND is one of ", Names()));
  const ResourceInfo& info = InfoOf(*resource);
  std::string number = text.substr(equals + 1);
  uint64_t limit = kNoLimit;
  if (number != "none") {
    if (info.unit == Unit::kBytes)
      if (const std::string complaint = ToBytes(number); !complaint.empty()) return Complaint(complaint);
    if (!absl::SimpleAtoi(number, &limit) || limit == kNoLimit)
      return Complaint(absl::StrCat(text, ": a number is wanted, or none"));
  }
  if (!is_uid && limit > info.settable_max)
    return Complaint(absl::StrCat(text, ": the most that a guest can have is ", info.settable_max));
  if (info.unit == Unit::kPerSecond && limit == 0) return Complaint(absl::StrCat(text, ": the least is 1"));
  return KindLimit{*resource, limit};
}

CLI::Validator LimitValidator(bool is_uid) {
  return CLI::Validator(
      [is_uid](std::string& text) { return std::string(ParseLimit(text, is_uid).status().message()); },
      "KIND=N");
}

void AddLimitFlags(CLI::App& app, LimitOptions& options) {
  AddFlag(app, "--limit", "each guest", /*is_uid=*/false, options.guest);
  AddFlag(app, "--uid-limit", "all guests of a user together", /*is_uid=*/true, options.uid);
  app.add_option("--mem-quota", options.mem_quota_bytes,
                 "Video memory that each guest may have, as in 1GiB; 0 is no limit of its own. The same as "
                 "--limit video_memory=SIZE")
      ->transform(CLI::Validator(ToBytes, "SIZE"))
      ->capture_default_str();
}

Limits GuestLimits(const LimitOptions& options) {
  Limits limits = DefaultLimits();
  Set(options.guest, /*is_uid=*/false, limits);
  if (options.mem_quota_bytes != 0) limits[Resource::kVideoMemory] = options.mem_quota_bytes;
  return limits;
}

Limits UidLimits(const LimitOptions& options) {
  Limits limits = NoLimits();
  Set(options.uid, /*is_uid=*/true, limits);
  return limits;
}

std::string LimitsText() {
  std::string text = absl::StrFormat("%-18s %-11s %10s  %s\n", "kind", "unit", "default",
                                     "a guest that has so much is told");
  for (const ResourceInfo& info : kResources)
    absl::StrAppendFormat(&text, "%-18s %-11s %10s  %s\n", std::string(info.name),
                          std::string(UnitName(info.unit)), Limit(info), std::string(info.over));
  return text;
}

std::string LimitsMarkdown() {
  std::string text =
      "| kind | what is counted | of a guest by default | because | who has so much is told "
      "|\n|---|---|---|---|---|\n";
  for (const ResourceInfo& info : kResources)
    absl::StrAppend(&text, "| `", std::string(info.name), "` | ", std::string(info.what), " | ", Limit(info),
                    " | ", std::string(info.why), " | ", std::string(info.over), " |\n");
  return text;
}

std::string LimitsJson() {
  auto json = nlohmann::ordered_json::array();
  for (const ResourceInfo& info : kResources) {
    nlohmann::ordered_json default_limit, most;
    if (info.guest_default != kNoLimit) default_limit = info.guest_default;
    if (info.settable_max != kNoLimit) most = info.settable_max;
    json.push_back({{"kind", info.name},
                    {"unit", UnitName(info.unit)},
                    {"default", default_limit},
                    {"most", most},
                    {"counted", info.what},
                    {"reason", info.why},
                    {"over", info.over}});
  }
  return json.dump(2) + "\n";
}

void AddLimitsCommand(CLI::App& app, AskedCommand* asked) {
  struct Options {
    bool as_json = false;
    bool as_markdown = false;
  };
  CLI::App* limits = app.add_subcommand("limits", "What guests can use up")->require_subcommand(1);
  CLI::App* list =
      limits->add_subcommand("list", "Print the kinds that have a limit, and what it is by default");
  const auto options = std::make_shared<Options>();
  list->add_flag("--json", options->as_json, "Print JSON");
  list->add_flag("--markdown", options->as_markdown, "Print the table of docs/limits.md");
  list->callback([=] {
    asked->run = [=] {
      return Print(options->as_json ? LimitsJson() : options->as_markdown ? LimitsMarkdown() : LimitsText());
    };
  });
}

}  // namespace nvshim::broker
