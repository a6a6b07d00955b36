#include "broker/exporter/exposition.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"

namespace nvshim::broker {
namespace {

const char* NameOf(MetricType type) { return type == MetricType::kCounter ? "counter" : "gauge"; }

void AppendLabel(std::string* text, const Labels::value_type& label) {
  absl::StrAppend(text, std::string(label.first), "=\"",
                  absl::StrReplaceAll(label.second, {{"\\", "\\\\"}, {"\"", "\\\""}, {"\n", "\\n"}}), "\"");
}

void AppendSample(std::string* text, const std::string& name, const Sample& sample) {
  absl::StrAppend(text, name);
  if (!sample.labels.empty()) absl::StrAppend(text, "{", absl::StrJoin(sample.labels, ",", AppendLabel), "}");
  absl::StrAppend(text, " ", sample.value, "\n");
}

}  // namespace

std::string ExpositionText(const std::vector<Family>& families) {
  std::string text;
  for (const Family& family : families) {
    if (family.samples.empty()) continue;
    absl::StrAppend(&text, "# HELP ", family.name, " ",
                    absl::StrReplaceAll(family.help, {{"\\", "\\\\"}, {"\n", "\\n"}}), "\n");
    absl::StrAppend(&text, "# TYPE ", family.name, " ", NameOf(family.type), "\n");
    for (const Sample& sample : family.samples) AppendSample(&text, family.name, sample);
  }
  return text;
}

std::string FamiliesMarkdown(const std::vector<Family>& families) {
  std::string text = "| name | type | unit | labels | meaning |\n|---|---|---|---|---|\n";
  for (const Family& family : families) {
    std::vector<std::string> labels;
    for (std::string_view label : family.labels) labels.push_back(absl::StrCat("`", std::string(label), "`"));
    absl::StrAppend(&text, "| `", family.name, "` | ", NameOf(family.type), " | ", family.unit, " | ",
                    absl::StrJoin(labels, ", "), " | ", family.help, " |\n");
  }
  return text;
}

}  // namespace nvshim::broker
