#include "broker/policy/policy.h"

#include <algorithm>
#include <fstream>
#include <optional>
#include <sstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "broker/policy/rule_text.h"

namespace nvshim::broker {
namespace {

constexpr char kAlwaysOn[] = "base";

// The specs of a table that a rule can be about, with the one of the range of controls.
std::vector<const abi::Spec*> SpecPointers(const abi::Table& table, Kind kind) {
  std::vector<const abi::Spec*> specs;
  for (const abi::Spec& spec : SpecsOf(table, kind)) specs.push_back(&spec);
  if (kind == Kind::kControl && table.gss_legacy != nullptr) specs.push_back(table.gss_legacy);
  return specs;
}

bool IsAbout(const PolicyRule& rule, size_t version, Kind kind, uint32_t number) {
  return rule.kind == kind && rule.since <= version && version < rule.until && rule.first <= number &&
         number <= rule.last;
}

absl::Status Mistake(const PolicyRule& rule, const std::string& what) {
  return absl::InvalidArgumentError(absl::StrCat(rule.file, ":", rule.line, ": ", what));
}

std::string What(const PolicyRule& rule) {
  return absl::StrCat(kKindNames[static_cast<size_t>(rule.kind)], " ", NumberText(rule.first));
}

// What is wrong with a rule for one spec that it is about.
absl::Status CheckForSpec(const PolicyRule& rule, const abi::Table& table, const abi::Spec& spec) {
  const std::string version(table.driver_version);
  if (rule.unlisted)
    return rule.first == rule.last
               ? Mistake(rule, absl::StrCat(What(rule), " is in the table of ", version, ": not unlisted"))
               : absl::OkStatus();
  if (!rule.name.empty() && rule.name != spec.name)
    return Mistake(
        rule, absl::StrCat(What(rule), " is ", std::string(spec.name), " in ", version, ", not ", rule.name));
  if (HasCode(rule.kind, spec, rule.verdict)) return absl::OkStatus();
  std::string possible;
  for (Verdict verdict : {Verdict::kAllow, Verdict::kCheck, Verdict::kFilter, Verdict::kClamp,
                          Verdict::kAnswer, Verdict::kDeny})
    if (HasCode(rule.kind, spec, verdict))
      absl::StrAppend(&possible, possible.empty() ? "" : ", ", kVerdictNames[static_cast<size_t>(verdict)]);
  return Mistake(rule, absl::StrCat("there is no code to ", kVerdictNames[static_cast<size_t>(rule.verdict)],
                                    " ", std::string(spec.name), " of ", version, "; possible: ", possible));
}

absl::Status CheckAgainstTables(const PolicyRule& rule) {
  bool is_listed = false;
  for (size_t version = rule.since; version < rule.until; ++version) {
    const abi::Table& table = *abi::Tables().data[version];
    for (const abi::Spec* spec : SpecPointers(table, rule.kind)) {
      if (!IsAbout(rule, version, rule.kind, spec->number)) continue;
      is_listed = true;
      if (auto status = CheckForSpec(rule, table, *spec); !status.ok()) return status;
    }
  }
  if (is_listed || rule.unlisted) return absl::OkStatus();
  if (rule.kind == Kind::kControl && abi::IsGssLegacy(rule.first))
    return Mistake(rule, absl::StrCat(What(rule),
                                      " has no line in a table: it is one of those that control 0x8000 "
                                      "(GSS_LEGACY) stands for"));
  return Mistake(rule, absl::StrCat(What(rule),
                                    " is in no table of these driver versions, and so denied; say "
                                    "unlisted: true in a rule that tells why"));
}

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  std::ifstream in(path);
  std::ostringstream text;
  if (in.is_open()) text << in.rdbuf();
  if (!in.is_open() || in.fail()) return absl::NotFoundError(absl::StrCat(path, ": cannot be read"));
  return text.str();
}

// Capabilities that no rule is for are mistakes of spelling.
absl::Status CheckCapabilities(const std::vector<PolicyRule>& rules,
                               const std::set<std::string>& capabilities) {
  std::set<std::string> known;
  for (const PolicyRule& rule : rules)
    if (!rule.capability.empty()) known.insert(rule.capability);
  for (const std::string& capability : capabilities) {
    if (known.contains(capability)) continue;
    std::string names;
    for (const std::string& name : known) absl::StrAppend(&names, names.empty() ? "" : ", ", name);
    return absl::InvalidArgumentError(
        absl::StrCat("--capabilities: no policy file is for '", capability, "'; there are ", names));
  }
  return absl::OkStatus();
}

}  // namespace

std::string NumberText(uint32_t number) { return absl::StrFormat("0x%x", number); }

absl::StatusOr<Policy> Policy::Load(const PolicyOptions& options) {
  std::vector<std::pair<std::string, std::string>> texts;
  for (const BuiltInPolicy& one : BuiltInPolicies()) texts.emplace_back(one.name, one.text);
  for (const std::string& path : options.files) {
    auto text = ReadFile(path);
    if (!text.ok()) return text.status();
    texts.emplace_back(path, *std::move(text));
  }
  return Parse(texts, options);
}

absl::StatusOr<Policy> Policy::Parse(const std::vector<std::pair<std::string, std::string>>& texts,
                                     const PolicyOptions& options) {
  std::vector<PolicyRule> rules;
  for (const auto& [name, text] : texts)
    if (auto status = ReadRules(name, text, &rules); !status.ok()) return status;
  for (const PolicyRule& rule : rules)
    if (auto status = CheckAgainstTables(rule); !status.ok()) return status;
  if (auto status = CheckCapabilities(rules, options.capabilities); !status.ok()) return status;
  return Policy(std::move(rules), options);
}

bool Policy::IsOn(const PolicyRule& rule) const {
  return rule.capability.empty() || rule.capability == kAlwaysOn || capabilities_.contains(rule.capability);
}

std::vector<Ruling> Policy::RulingsOf(const abi::Table& table) const {
  const auto* tables = abi::Tables().begin();
  const auto version = static_cast<size_t>(std::find(tables, abi::Tables().end(), &table) - tables);
  std::vector<Ruling> rulings;
  for (Kind kind : kKinds)
    for (const abi::Spec* spec : SpecPointers(table, kind)) {
      const auto rule = std::find_if(rules_->rbegin(), rules_->rend(), [&](const PolicyRule& each) {
        return !each.unlisted && IsAbout(each, version, kind, spec->number);
      });
      Ruling ruling = {kind, spec, rule == rules_->rend() ? nullptr : &*rule, Verdict::kDeny, false};
      if (ruling.rule != nullptr) {
        ruling.is_off = !IsOn(*ruling.rule);
        if (!ruling.is_off) ruling.verdict = ruling.rule->verdict;
      }
      if (shadow_ && ruling.verdict == Verdict::kDeny && HasCode(kind, *spec, Verdict::kShadow))
        ruling.verdict = Verdict::kShadow;
      rulings.push_back(ruling);
    }
  return rulings;
}

Verdicts Policy::VerdictsOf(const abi::Table& table) const {
  Verdicts verdicts(table);
  for (const Ruling& ruling : RulingsOf(table)) verdicts.Set(*ruling.spec, ruling.verdict);
  return verdicts;
}

}  // namespace nvshim::broker
