#include "broker/ctl/seccomp_profile.h"

#include <algorithm>
#include <cerrno>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace nvshim::broker::ctl {
namespace {

using Json = nlohmann::json;

constexpr char kBase[] = R"({
  "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38, "archMap": [],
  "syscalls": [
    {"names": ["read", "ioctl", "write"], "action": "SCMP_ACT_ALLOW", "args": []},
    {"names": ["ioctl"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
    {"names": ["bdflush"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}
  ]})";

long CountOf(const std::vector<RequestRule>& rules, uint32_t request) {
  return std::count_if(rules.begin(), rules.end(), [&](const auto& rule) { return rule.Matches(request); });
}

bool Matches(const Json& rule, uint32_t request) {
  const Json& argument = rule["args"][0];
  return (request & argument["value"].get<uint32_t>()) == argument["valueTwo"].get<uint32_t>();
}

void ExpectOneRule(const std::vector<RequestRule>& refused, const std::vector<RequestRule>& allowed,
                   uint32_t request) {
  EXPECT_EQ(CountOf(allowed, request), CountOf(refused, request) == 0 ? 1 : 0) << std::hex << request;
}

TEST(ComplementTest, EveryRequestIsRefusedOrMatchesOneRule) {
  const auto refused = RefusedRequests();
  const auto allowed = Complement(refused);
  for (uint32_t request = 0; request < 1 << 17; ++request) ExpectOneRule(refused, allowed, request);
  for (uint32_t request = 0x2fffff00; request < 0x30000100; ++request)
    ExpectOneRule(refused, allowed, request);
  std::mt19937 random(1);
  for (int i = 0; i < 1'000'000; ++i) ExpectOneRule(refused, allowed, random());
  // Each is a comparison or two that every ioctl of a container may have to pass.
  EXPECT_LT(allowed.size(), 128u);
}

TEST(ComplementTest, OfNothingIsEverythingAndOfEverythingNothing) {
  ASSERT_EQ(Complement({}).size(), 1u);
  EXPECT_TRUE(Complement({})[0].Matches(0xffffffff));
  EXPECT_TRUE(Complement({{0, 0}}).empty());
}

TEST(ConfinedProfileTest, IoctlIsAllowedByRequestAloneAndTheRestStays) {
  const Json profile = Json::parse(*ConfinedProfile(kBase));
  const Json& rules = profile["syscalls"];
  EXPECT_EQ(profile["defaultErrnoRet"], 38);
  EXPECT_EQ(rules[0]["names"], Json({"read", "write"}));
  EXPECT_EQ(rules[1]["names"], Json({"bdflush"}));  // the second permission for ioctl is gone altogether
  int refused = 0, allowed = 0;
  for (size_t i = 2; i < rules.size(); ++i) {
    EXPECT_EQ(rules[i]["names"], Json({"ioctl"}));
    EXPECT_EQ(rules[i]["args"][0]["index"], 1);
    EXPECT_EQ(rules[i]["args"][0]["op"], "SCMP_CMP_MASKED_EQ");
    const bool allows = rules[i]["action"] == "SCMP_ACT_ALLOW";
    EXPECT_EQ(rules[i].value("errnoRet", 0), allows ? 0 : EPERM);
    refused += !allows && Matches(rules[i], 0xc020462a);  // NV_ESC_RM_CONTROL
    allowed += allows && Matches(rules[i], 0x5413);       // TIOCGWINSZ
    EXPECT_FALSE(allows && Matches(rules[i], 0xc020462a));
    EXPECT_FALSE(!allows && Matches(rules[i], 0x5413));
  }
  EXPECT_EQ(refused, 1);
  EXPECT_EQ(allowed, 1);
}

TEST(ConfinedProfileTest, RefusesWhatItCannotConfine) {
  EXPECT_FALSE(ConfinedProfile("").ok());
  EXPECT_FALSE(ConfinedProfile("[]").ok());
  EXPECT_FALSE(ConfinedProfile(R"({"syscalls": {}})").ok());
  EXPECT_FALSE(
      ConfinedProfile(R"({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [1, {"action": 2, "names": 1}]})")
          .ok());
  EXPECT_FALSE(ConfinedProfile(R"({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
      {"names": ["ioctl"], "action": "SCMP_ACT_ALLOW"}]})")
                   .ok());
}

}  // namespace
}  // namespace nvshim::broker::ctl
