#include "broker/policy/rule_text.h"

#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/text_format.h>

#include <optional>

#include "absl/strings/str_cat.h"
#include "proto/policy.pb.h"

namespace nvshim::broker {
namespace {

using google::protobuf::TextFormat;

// Keeps the first complaint; lines are counted from 0.
class FirstError : public google::protobuf::io::ErrorCollector {
 public:
  void AddError(int line, int column, const std::string& message) override {
    if (text_.empty()) text_ = absl::StrCat(line + 1, ":", column + 1, ": ", message);
  }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

std::optional<Verdict> ToVerdict(policy::Verdict verdict) {
  switch (verdict) {
    case policy::ALLOW:
      return Verdict::kAllow;
    case policy::CHECK:
      return Verdict::kCheck;
    case policy::FILTER:
      return Verdict::kFilter;
    case policy::CLAMP:
      return Verdict::kClamp;
    case policy::ANSWER:
      return Verdict::kAnswer;
    case policy::DENY:
      return Verdict::kDeny;
    default:
      return std::nullopt;
  }
}

void SetCall(const policy::Rule& text, PolicyRule* rule) {
  switch (text.call_case()) {
    case policy::Rule::kEscape:
      rule->kind = Kind::kEscape;
      rule->first = text.escape();
      break;
    case policy::Rule::kControl:
      rule->kind = Kind::kControl;
      rule->first = text.control();
      break;
    case policy::Rule::kClass:
      rule->kind = Kind::kClass;
      rule->first = text.class_();
      break;
    case policy::Rule::kUvm:
    case policy::Rule::CALL_NOT_SET:
      rule->kind = Kind::kUvm;
      rule->first = text.uvm();
      break;
  }
  rule->last = text.last() == 0 ? rule->first : text.last();
}

// The index in abi::Tables(); `fallback` for an empty text, nothing for a version that is not built in.
std::optional<size_t> VersionIndex(const std::string& version, size_t fallback) {
  if (version.empty()) return fallback;
  for (size_t i = 0; i < abi::Tables().size; ++i)
    if (abi::Tables().data[i]->driver_version == version) return i;
  return std::nullopt;
}

// Fills `rule`; the complaint, or "".
std::string ToRule(const policy::Rule& text, PolicyRule* rule) {
  if (text.call_case() == policy::Rule::CALL_NOT_SET)
    return "a rule names an escape, a control, a class or a uvm call";
  SetCall(text, rule);
  if (rule->last < rule->first) return "last is below the first number";
  const auto verdict = ToVerdict(text.verdict());
  if (!verdict) return "a rule has a verdict: ALLOW, CHECK, FILTER, CLAMP, ANSWER or DENY";
  rule->verdict = *verdict;
  if (*verdict != Verdict::kDeny && (rule->last != rule->first || text.unlisted()))
    return text.unlisted() ? "what no table has can only be denied" : "a range can only be denied";
  if (text.reason().empty()) return "a rule has a reason";
  rule->name = text.name();
  if (!rule->name.empty() && rule->last != rule->first) return "a range has no name";
  rule->reason = text.reason();
  rule->unlisted = text.unlisted();
  const auto since = VersionIndex(text.since(), 0);
  const auto until = VersionIndex(text.until(), abi::Tables().size);
  if (!since || !until) return "since and until are driver versions that gpu-broker abi list prints";
  if (*since >= *until) return "the rule is for no version: until does not come after since";
  rule->since = *since;
  rule->until = *until;
  return "";
}

}  // namespace

absl::Status ReadRules(const std::string& file, const std::string& text, std::vector<PolicyRule>* rules) {
  TextFormat::Parser parser;
  FirstError error;
  TextFormat::ParseInfoTree places;
  parser.RecordErrorsTo(&error);
  parser.WriteLocationsTo(&places);
  policy::Policy policy;
  if (!parser.ParseFromString(text, &policy))
    return absl::InvalidArgumentError(absl::StrCat(file, ":", error.text()));
  const auto* field = policy::Policy::descriptor()->FindFieldByNumber(policy::Policy::kRuleFieldNumber);
  for (int i = 0; i < policy.rule_size(); ++i) {
    PolicyRule rule;
    rule.file = file;
    rule.line = places.GetLocation(field, i).line + 1;
    rule.capability = policy.capability();
    if (const std::string complaint = ToRule(policy.rule(i), &rule); !complaint.empty())
      return absl::InvalidArgumentError(absl::StrCat(file, ":", rule.line, ": ", complaint));
    rules->push_back(std::move(rule));
  }
  return absl::OkStatus();
}

}  // namespace nvshim::broker
