// Laws of what `gpu-broker policy` prints: every call has a line, what is known of one is found by number and
// by name, and only what guests get differently is a difference.
#include "broker/policy/report.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

namespace nvshim::broker {
namespace {

const abi::Table& Oldest() { return **abi::Tables().begin(); }
const abi::Table& Newest() { return **(abi::Tables().end() - 1); }
std::vector<const abi::Table*> AllTables() { return {abi::Tables().begin(), abi::Tables().end()}; }

// The built-in policy, and a file of an operator.
Policy With(const std::string& text, const std::set<std::string>& capabilities = {"compute", "utility"}) {
  std::vector<std::pair<std::string, std::string>> texts;
  for (const BuiltInPolicy& one : BuiltInPolicies()) texts.emplace_back(one.name, one.text);
  texts.emplace_back("site.textproto", text);
  PolicyOptions options;
  options.capabilities = capabilities;
  auto policy = Policy::Parse(texts, options);
  EXPECT_TRUE(policy.ok()) << policy.status();
  return *std::move(policy);
}

std::string Explain(const std::string& call, const std::vector<const abi::Table*>& tables = AllTables()) {
  const auto text = ExplainCall(With(""), tables, call);
  return text.ok() ? *text : "";
}

bool Says(const std::string& text, const std::string& what) { return text.find(what) != std::string::npos; }

TEST(PolicyReportTest, EveryCallHasALine) {
  const Policy policy = With("");
  for (const abi::Table* table : AllTables()) {
    const size_t calls = policy.RulingsOf(*table).size();
    const std::string text = PolicyListText(policy, *table);
    EXPECT_EQ(static_cast<size_t>(std::count(text.begin(), text.end(), '\n')), calls);
    const auto json = nlohmann::json::parse(PolicyListJson(policy, *table));
    EXPECT_EQ(json.size(), calls);
    for (const auto& one : json) EXPECT_NE(one.at("reason"), "");
  }
}

TEST(PolicyReportTest, ACallIsFoundByNumberByNameAndByAPart) {
  const std::string text = Explain("0x2080200a");
  EXPECT_TRUE(Says(text, "control 0x2080200a NV2080_CTRL_CMD_PERF_BOOST\n  535.261.03 to 595.45.04\n"))
      << text;
  EXPECT_TRUE(Says(text, "verdict     answer\n")) << text;
  EXPECT_TRUE(Says(text, "rule        proto/policy/compute.textproto:")) << text;
  EXPECT_EQ(Explain("545267722"), text);
  EXPECT_EQ(Explain("NV2080_CTRL_CMD_PERF_BOOST"), text);
  EXPECT_EQ(Explain("PERF_BOOST"), text);
  EXPECT_EQ(Explain("no such call"), "");
  EXPECT_EQ(Explain("0x12345678"), "");
}

TEST(PolicyReportTest, OneNumberMayBeSeveralCalls) {
  const std::string text = Explain("0x2a", {&Newest()});
  EXPECT_TRUE(Says(text, "escape 0x2a NV_ESC_RM_CONTROL\n")) << text;
  EXPECT_TRUE(Says(text, "uvm 0x2a UVM_SET_PREFERRED_LOCATION\n")) << text;
}

TEST(PolicyReportTest, AControlOfTheFirmwaresRangeIsExplainedByTheRange) {
  EXPECT_TRUE(Says(Explain("0x20808abc", {&Newest()}), "control 0x8000 GSS_LEGACY\n"));
}

TEST(PolicyReportTest, WhatNoTableHasIsExplainedByItsRule) {
  EXPECT_TRUE(Says(Explain("0xc3700101"), "in no table\n    verdict     deny\n    reason      displays\n"));
}

TEST(PolicyReportTest, ACapabilityThatIsOffIsSaid) {
  EXPECT_TRUE(Says(Explain("NVC4B7_VIDEO_ENCODER"), "capability  video (off)\n"));
}

TEST(PolicyReportTest, APolicyDiffersInWhatItChanges) {
  const Policy site = With(
      "rule { control: 0x2080018d verdict: DENY reason: \"no lists\" }\n"
      "rule { control: 0x20800110 verdict: ALLOW reason: \"the same for another reason\" }");
  EXPECT_EQ(PolicyDiffOfPolicies(With(""), site, AllTables()),
            "control 0x2080018d NV2080_CTRL_CMD_GPU_GET_PIDS: filter -> deny (no lists)\n");
  EXPECT_EQ(PolicyDiffOfPolicies(site, site, AllTables()), "");
  const std::string video =
      PolicyDiffOfPolicies(With(""), With("", {"compute", "utility", "video"}), {&Newest()});
  EXPECT_TRUE(Says(video, "class   0xc4b7     NVC4B7_VIDEO_ENCODER: deny -> allow (")) << video;
}

TEST(PolicyReportTest, AVersionDiffersInWhatGuestsGet) {
  const std::string text = PolicyDiffOfVersions(With(""), Oldest(), Newest());
  EXPECT_TRUE(Says(text, "uvm     0x50       UVM_DISCARD: deny -> allow (")) << text;
  EXPECT_TRUE(Says(text, "NV0073_CTRL_CMD_SYSTEM_GET_SUPPORTED: allow -> deny (not in the table)")) << text;
  EXPECT_FALSE(Says(text, "NV2080_CTRL_CMD_NVLINK_LOCK_REMAP_TABLE_AND_MSE")) << "denied in both";
  EXPECT_EQ(PolicyDiffOfVersions(With(""), Newest(), Newest()), "");
}

}  // namespace
}  // namespace nvshim::broker
