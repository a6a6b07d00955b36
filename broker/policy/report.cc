#include "broker/policy/report.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <tuple>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

namespace nvshim::broker {
namespace {

const char* Name(Kind kind) { return kKindNames[static_cast<size_t>(kind)]; }
const char* Name(Verdict verdict) { return kVerdictNames[static_cast<size_t>(verdict)]; }

// "compute", "video (off)"; "-" where no capability is asked.
std::string CapabilityText(const Ruling& ruling) {
  if (ruling.rule == nullptr || ruling.rule->capability.empty()) return "-";
  return ruling.rule->capability + (ruling.is_off ? " (off)" : "");
}

std::string ReasonText(const Ruling& ruling) {
  if (ruling.rule == nullptr) return "no rule is about it";
  if (!ruling.is_off) return ruling.rule->reason;
  return absl::StrCat("the capability ", ruling.rule->capability, " is off: ", ruling.rule->reason);
}

std::string SizeText(const abi::Spec& spec) {
  if (spec.size_max != spec.size) return absl::StrCat("up to ", spec.size_max, " bytes");
  return spec.size == 0 ? "no parameters" : absl::StrCat(spec.size, " bytes");
}

// What of a call the core has to look at.
std::string LayoutText(const abi::Spec& spec) {
  std::string text = SizeText(spec);
  const auto append = [&text](size_t count, const char* what) {
    if (count != 0) absl::StrAppend(&text, ", ", count, " ", what);
  };
  append(spec.clients.size, "client handles");
  append(spec.share_policy_offset != abi::kNone, "share policy");
  append(spec.fds.size, "descriptors");
  append(spec.pointers.size, "pointers");
  return text;
}

// Where the layout is from.
const char* SourceText(const abi::Spec& spec) {
  if (spec.size_max != spec.size) return "bytes that no header describes, handed on to the firmware";
  if (spec.name.starts_with("UNNAMED_")) return "no header names it: as NVIDIA's client sends it";
  return "measured on the headers of NVIDIA's kernel module";
}

// ---- Explain ----

// By kind, number and name: what one paragraph is about.
using Call = std::tuple<Kind, uint32_t, std::string>;

bool Matches(const std::string& name, const std::optional<uint32_t>& wanted_number, uint32_t number,
             const std::string& wanted, bool whole) {
  if (wanted_number) return number == *wanted_number;
  return whole ? name == wanted : name.find(wanted) != std::string::npos;
}

// The versions from `from` to `to`, which are next to each other.
std::string SpanText(const std::vector<const abi::Table*>& tables, size_t from, size_t to) {
  const std::string first(tables[from]->driver_version);
  return from == to ? first : absl::StrCat(first, " to ", std::string(tables[to]->driver_version));
}

std::string RulingText(const Ruling& ruling) {
  std::string text = absl::StrFormat("    verdict     %s\n    capability  %s\n    reason      %s\n",
                                     Name(ruling.verdict), CapabilityText(ruling), ReasonText(ruling));
  if (ruling.rule != nullptr)
    absl::StrAppendFormat(&text, "    rule        %s:%d\n", ruling.rule->file, ruling.rule->line);
  absl::StrAppendFormat(&text, "    layout      %s; %s\n", LayoutText(*ruling.spec),
                        SourceText(*ruling.spec));
  return text;
}

// Paragraphs of what tables have, one for each run of versions that agree.
std::string ExplainListed(const Policy& policy, const std::vector<const abi::Table*>& tables,
                          const std::string& wanted, const std::optional<uint32_t>& number, bool whole) {
  std::map<Call, std::vector<std::optional<std::string>>> calls;
  for (size_t i = 0; i < tables.size(); ++i) {
    const auto rulings = policy.RulingsOf(*tables[i]);
    for (const Ruling& ruling : rulings) {
      const std::string name(ruling.spec->name);
      // A control of the firmware's that has no line is one of the range that has.
      const bool in_range = number && ruling.spec == tables[i]->gss_legacy && ruling.kind == Kind::kControl &&
                            abi::FindControl(*tables[i], *number) == ruling.spec;
      if (!in_range && !Matches(name, number, ruling.spec->number, wanted, whole)) continue;
      auto& texts = calls[{ruling.kind, ruling.spec->number, name}];
      texts.resize(tables.size());
      // NV_ESC_RM_ALLOC has two layouts.
      texts[i] = texts[i].value_or("") + RulingText(ruling);
    }
  }
  std::string text;
  for (const auto& [call, texts] : calls) {
    const auto& [kind, spec_number, name] = call;
    absl::StrAppend(&text, Name(kind), " ", NumberText(spec_number), " ", name, "\n");
    for (size_t from = 0, to; from < tables.size(); from = to + 1) {
      to = from;
      if (!texts[from]) continue;
      while (to + 1 < tables.size() && texts[to + 1] == texts[from]) ++to;
      absl::StrAppend(&text, "  ", SpanText(tables, from, to), "\n", *texts[from]);
    }
  }
  return text;
}

// What rules say of calls that no table has.
std::string ExplainUnlisted(const Policy& policy, const std::string& wanted,
                            const std::optional<uint32_t>& number, bool whole) {
  std::string text;
  for (const PolicyRule& rule : policy.rules()) {
    const bool is_about = number ? rule.first <= *number && *number <= rule.last
                                 : !rule.name.empty() && Matches(rule.name, number, 0, wanted, whole);
    if (!rule.unlisted || !is_about) continue;
    absl::StrAppendFormat(&text, "%s %s%s%s\n  in no table\n", Name(rule.kind), NumberText(rule.first),
                          rule.last == rule.first ? "" : " to " + NumberText(rule.last),
                          rule.name.empty() ? "" : " " + rule.name);
    absl::StrAppendFormat(&text, "    verdict     %s\n    reason      %s\n    rule        %s:%d\n",
                          Name(rule.verdict), rule.reason, rule.file, rule.line);
  }
  return text;
}

// ---- Diff ----

// What guests get of each call, by kind, number and name.
std::map<Call, Ruling> RulingsByCall(const Policy& policy, const abi::Table& table) {
  std::map<Call, Ruling> rulings;
  for (const Ruling& ruling : policy.RulingsOf(table))
    rulings.insert_or_assign({ruling.kind, ruling.spec->number, std::string(ruling.spec->name)}, ruling);
  return rulings;
}

// A line for each call that guests get differently. What a table does not have is denied like much that it
// has.
std::map<Call, std::string> Differences(const std::map<Call, Ruling>& from,
                                        const std::map<Call, Ruling>& to) {
  std::map<Call, std::string> differences;
  const auto compare = [&](const Call& call) {
    const auto before = from.find(call), after = to.find(call);
    const Verdict was = before == from.end() ? Verdict::kDeny : before->second.verdict;
    const Verdict is = after == to.end() ? Verdict::kDeny : after->second.verdict;
    if (was == is) return;
    const auto& [kind, number, name] = call;
    const std::string reason = after == to.end() ? "not in the table" : ReasonText(after->second);
    differences[call] = absl::StrFormat("%-7s %-10s %s: %s -> %s (%s)\n", Name(kind), NumberText(number),
                                        name, Name(was), Name(is), reason);
  };
  for (const auto& [call, ruling] : from) compare(call);
  for (const auto& [call, ruling] : to) compare(call);
  return differences;
}

}  // namespace

std::string PolicyListText(const Policy& policy, const abi::Table& table) {
  std::string text;
  for (const Ruling& ruling : policy.RulingsOf(table))
    absl::StrAppendFormat(&text, "%-7s %-10s %-6s %-15s %s: %s\n", Name(ruling.kind),
                          NumberText(ruling.spec->number), Name(ruling.verdict), CapabilityText(ruling),
                          std::string(ruling.spec->name), ReasonText(ruling));
  return text;
}

std::string PolicyListJson(const Policy& policy, const abi::Table& table) {
  auto list = nlohmann::ordered_json::array();
  for (const Ruling& ruling : policy.RulingsOf(table))
    list.push_back({{"kind", Name(ruling.kind)},
                    {"number", ruling.spec->number},
                    {"name", std::string(ruling.spec->name)},
                    {"size", ruling.spec->size_max},
                    {"verdict", Name(ruling.verdict)},
                    {"capability", ruling.rule == nullptr ? "" : ruling.rule->capability},
                    {"capability_is_on", !ruling.is_off},
                    {"reason", ReasonText(ruling)}});
  return list.dump(1) + "\n";
}

absl::StatusOr<std::string> ExplainCall(const Policy& policy, const std::vector<const abi::Table*>& tables,
                                        const std::string& number_or_name) {
  std::optional<uint32_t> number;
  if (uint32_t value; number_or_name.starts_with("0x") ? absl::SimpleHexAtoi(number_or_name, &value)
                                                       : absl::SimpleAtoi(number_or_name, &value))
    number = value;
  for (bool whole : {true, false}) {
    const std::string text = ExplainListed(policy, tables, number_or_name, number, whole) +
                             ExplainUnlisted(policy, number_or_name, number, whole);
    if (!text.empty()) return text;
  }
  return absl::NotFoundError(
      absl::StrCat(number_or_name, " is in no table and in no rule: it is denied, as unknown to the driver"));
}

std::string PolicyDiffOfVersions(const Policy& policy, const abi::Table& from, const abi::Table& to) {
  std::string text;
  for (const auto& [call, lines] : Differences(RulingsByCall(policy, from), RulingsByCall(policy, to)))
    text += lines;
  return text;
}

std::string PolicyDiffOfPolicies(const Policy& from, const Policy& to,
                                 const std::vector<const abi::Table*>& tables) {
  // By what is said, the versions for which it is.
  std::map<std::pair<Call, std::string>, std::vector<std::string>> versions;
  for (const abi::Table* table : tables)
    for (const auto& [call, lines] : Differences(RulingsByCall(from, *table), RulingsByCall(to, *table)))
      versions[{call, lines}].emplace_back(table->driver_version);
  std::string text;
  for (const auto& [difference, where] : versions) {
    if (where.size() != tables.size()) absl::StrAppend(&text, "  of ", absl::StrJoin(where, ", "), "\n");
    text += difference.second;
  }
  return text;
}

}  // namespace nvshim::broker
