// Laws of the policy: every call of every table has one rule among the built-in ones, every rule is about
// something, every verdict is one that the core carries out, and whatever the core cannot follow stays
// denied. And of files: the last rule counts, and a mistake is told with its place.
#include "broker/policy/policy.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

namespace nvshim::broker {
namespace {

const abi::Table& Newest() { return **(abi::Tables().end() - 1); }

PolicyOptions On(std::set<std::string> capabilities) {
  PolicyOptions options;
  options.capabilities = std::move(capabilities);
  return options;
}

Policy Load(const PolicyOptions& options = {}) {
  auto policy = Policy::Load(options);
  EXPECT_TRUE(policy.ok()) << policy.status();
  return *std::move(policy);
}

// The built-in files, and after them one of an operator.
absl::StatusOr<Policy> With(const std::string& text, const PolicyOptions& options = {}) {
  std::vector<std::pair<std::string, std::string>> texts;
  for (const BuiltInPolicy& one : BuiltInPolicies()) texts.emplace_back(one.name, one.text);
  texts.emplace_back("site.textproto", text);
  return Policy::Parse(texts, options);
}

std::string ComplaintOf(const std::string& text) {
  const auto policy = With(text);
  return policy.ok() ? "none" : std::string(policy.status().message());
}

Verdict VerdictOf(const Policy& policy, const abi::Table& table, Kind kind, uint32_t number) {
  return policy.VerdictsOf(table).Of(*abi::Find(SpecsOf(table, kind), number));
}

TEST(PolicyTest, EverySpecOfEveryTableHasExactlyOneBuiltInRule) {
  const Policy policy = Load();
  for (size_t version = 0; version < abi::Tables().size; ++version)
    for (const Ruling& ruling : policy.RulingsOf(*abi::Tables().data[version])) {
      size_t count = 0;
      for (const PolicyRule& rule : policy.rules())
        count += !rule.unlisted && rule.kind == ruling.kind && rule.first <= ruling.spec->number &&
                 ruling.spec->number <= rule.last && rule.since <= version && version < rule.until;
      EXPECT_EQ(count, 1u) << abi::Tables().data[version]->driver_version << " " << ruling.spec->name;
    }
}

// HasCode is what Load insists on; here, that it means something.
TEST(PolicyTest, EveryVerdictThatIsGivenIsOneOfTheCore) {
  const Policy policy = Load(On({"compute", "utility", "profiling", "video", "graphics", "fabric", "rdma"}));
  std::set<Verdict> given;
  for (const abi::Table* table : abi::Tables())
    for (const Ruling& ruling : policy.RulingsOf(*table)) {
      EXPECT_FALSE(ruling.is_off);
      EXPECT_TRUE(HasCode(ruling.kind, *ruling.spec, ruling.verdict)) << ruling.spec->name;
      given.insert(ruling.verdict);
    }
  EXPECT_EQ(given, (std::set<Verdict>{Verdict::kDeny, Verdict::kAllow, Verdict::kCheck, Verdict::kFilter,
                                      Verdict::kClamp, Verdict::kAnswer}));
}

TEST(PolicyTest, WhatTheTablesWithholdIsDeniedByDefault) {
  const Policy policy = Load();
  for (const abi::Table* table : abi::Tables())
    for (const Ruling& ruling : policy.RulingsOf(*table))
      if (ruling.spec->withheld) {
        EXPECT_EQ(ruling.verdict, Verdict::kDeny) << ruling.spec->name;
      }
}

TEST(PolicyTest, BuiltInRulesNameWhatTheyAreAbout) {
  const Policy policy = Load();
  for (const PolicyRule& rule : policy.rules())
    if (!rule.unlisted) {
      EXPECT_FALSE(rule.name.empty()) << rule.file << ":" << rule.line;
    }
}

TEST(PolicyTest, ACapabilityIsOnWhenNamed) {
  constexpr uint32_t kVideoDecoder = 0xc4b0;
  EXPECT_EQ(VerdictOf(Load(), Newest(), Kind::kClass, kVideoDecoder), Verdict::kDeny);
  EXPECT_EQ(VerdictOf(Load(On({"compute", "video"})), Newest(), Kind::kClass, kVideoDecoder),
            Verdict::kAllow);
  constexpr uint32_t kGetPids = 0x2080018d;
  EXPECT_EQ(VerdictOf(Load(), Newest(), Kind::kControl, kGetPids), Verdict::kFilter);
  EXPECT_EQ(VerdictOf(Load(On({"compute"})), Newest(), Kind::kControl, kGetPids), Verdict::kDeny);
  const auto misspelt = Policy::Load(On({"vidoe"}));
  EXPECT_NE(std::string(misspelt.status().message()).find("'vidoe'"), std::string::npos) << misspelt.status();
}

TEST(PolicyTest, TheLastRuleCounts) {
  auto policy = With(
      "rule { control: 0x2080018d verdict: DENY reason: \"a\" }\n"
      "rule { class: 0xc4b0 verdict: ALLOW reason: \"b\" }");
  ASSERT_TRUE(policy.ok()) << policy.status();
  EXPECT_EQ(VerdictOf(*policy, Newest(), Kind::kControl, 0x2080018d), Verdict::kDeny);
  EXPECT_EQ(VerdictOf(*policy, Newest(), Kind::kClass, 0xc4b0), Verdict::kAllow);
  policy = With(
      "rule { control: 0x20800000 last: 0x2080ffff verdict: DENY reason: \"a\" }\n"
      "rule { control: 0x20800110 verdict: ALLOW reason: \"b\" since: \"580.95.05\" }");
  ASSERT_TRUE(policy.ok()) << policy.status();
  EXPECT_EQ(VerdictOf(*policy, Newest(), Kind::kControl, 0x2080014a), Verdict::kDeny);
  EXPECT_EQ(VerdictOf(*policy, Newest(), Kind::kControl, 0x20800110), Verdict::kAllow);
  EXPECT_EQ(VerdictOf(*policy, *abi::FindTable("535.261.03"), Kind::kControl, 0x20800110), Verdict::kDeny);
}

TEST(PolicyTest, AMistakeIsToldWithItsPlace) {
  const std::map<std::string, std::string> mistakes = {
      {"rule { control: 0x2080 }", "site.textproto:1: a rule has a verdict"},
      {"\nrule { control: 0x20800110 verdict: ALLOW }", "site.textproto:2: a rule has a reason"},
      {"rule { verdict: ALLOW reason: \"a\" }", "site.textproto:1: a rule names"},
      {"rule { control: 1 verdict: PERMIT reason: \"a\" }", "site.textproto:1:"},
      {"\n\nrule { control: 1 verdikt: DENY }", "site.textproto:3:"},
      {"rule { control: 0x20800110 name: \"FOO\" verdict: ALLOW reason: \"a\" }",
       "site.textproto:1: control 0x20800110 is NV2080_CTRL_CMD_GPU_GET_NAME_STRING in"},
      {"rule { control: 0x7777 verdict: DENY reason: \"a\" }",
       "site.textproto:1: control 0x7777 is in no table of these driver versions"},
      {"rule { control: 0x7777 verdict: ALLOW reason: \"a\" unlisted: true }",
       "site.textproto:1: what no table has can only be denied"},
      {"rule { control: 0x20800110 verdict: DENY reason: \"a\" unlisted: true }",
       "site.textproto:1: control 0x20800110 is in the table of"},
      {"rule { control: 0x20809999 verdict: DENY reason: \"a\" }",
       "site.textproto:1: control 0x20809999 has no line in a table: it is one of those that control 0x8000"},
      {"rule { class: 0x80 last: 0x90 verdict: ALLOW reason: \"a\" }",
       "site.textproto:1: a range can only be"},
      {"rule { class: 0x80 verdict: ALLOW reason: \"a\" }",
       "site.textproto:1: there is no code to allow NV01_DEVICE_0 of 535.261.03; possible: check, deny"},
      {"rule { control: 0x20800110 verdict: CHECK reason: \"a\" }",
       "site.textproto:1: there is no code to check NV2080_CTRL_CMD_GPU_GET_NAME_STRING of 535.261.03; "
       "possible: "
       "allow, deny"},
      {"rule { escape: 0x41 verdict: CHECK reason: \"a\" }",
       "site.textproto:1: there is no code to check NV_ESC_RM_IDLE_CHANNELS of 535.261.03; possible: deny"},
      {"rule { class: 0x80 verdict: CHECK reason: \"a\" since: \"536.1\" }",
       "site.textproto:1: since and until"},
      {"rule { class: 0x80 verdict: CHECK reason: \"a\" since: \"580.95.05\" until: \"550.163.01\" }",
       "site.textproto:1: the rule is for no version"},
  };
  for (const auto& [text, complaint] : mistakes)
    EXPECT_EQ(ComplaintOf(text).substr(0, complaint.size()), complaint) << text << "\n" << ComplaintOf(text);
}

TEST(PolicyTest, AFileThatIsNotThereIsTold) {
  PolicyOptions options;
  options.files = {"no/such/file"};
  const auto policy = Policy::Load(options);
  EXPECT_EQ(policy.status().message(), "no/such/file: cannot be read");
}

TEST(PolicyTest, InShadowOnlyWhatTheCoreCannotFollowIsDenied) {
  PolicyOptions options;
  options.shadow = true;
  const Policy policy = Load(options);
  for (const abi::Table* table : abi::Tables())
    for (const Ruling& ruling : policy.RulingsOf(*table)) {
      if (ruling.verdict == Verdict::kDeny) {
        EXPECT_FALSE(HasCode(ruling.kind, *ruling.spec, Verdict::kShadow)) << ruling.spec->name;
      }
    }
  EXPECT_EQ(VerdictOf(policy, Newest(), Kind::kClass, 0xc4b0), Verdict::kShadow);
  EXPECT_EQ(VerdictOf(policy, Newest(), Kind::kEscape, 0x41), Verdict::kDeny);
}

}  // namespace
}  // namespace nvshim::broker
