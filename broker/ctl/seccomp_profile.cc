#include "broker/ctl/seccomp_profile.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <nlohmann/json.hpp>

#include "absl/status/status.h"

namespace nvshim::broker::ctl {
namespace {

using Json = nlohmann::ordered_json;

constexpr char kAllow[] = "SCMP_ACT_ALLOW";
constexpr char kCall[] = "ioctl";
constexpr int kRequestArgument = 1;  // of ioctl(fd, request, ...)
constexpr int kRequestBits = 32;     // that the kernel takes

bool Meet(const RequestRule& a, const RequestRule& b) { return ((a.value ^ b.value) & a.mask & b.mask) == 0; }

// The bit outside of `fixed` that most of `rules` look at; of several the highest, which are zero in all
// small requests.
uint32_t BitToSplit(const std::vector<RequestRule>& rules, uint32_t fixed) {
  std::array<int, kRequestBits> looks = {};
  for (const RequestRule& rule : rules)
    for (int bit = 0; bit < kRequestBits; ++bit) looks[bit] += (rule.mask & ~fixed) >> bit & 1;
  return 0x80000000 >> (std::max_element(looks.rbegin(), looks.rend()) - looks.rbegin());
}

// Adds to `allowed` what of `part` matches none of `refused`.
void AddComplement(const std::vector<RequestRule>& refused, const RequestRule& part,
                   std::vector<RequestRule>* allowed) {
  std::vector<RequestRule> near;
  for (const RequestRule& rule : refused)
    if (Meet(rule, part)) near.push_back(rule);
  if (near.empty()) return allowed->push_back(part);
  if (std::any_of(near.begin(), near.end(), [&](const auto& rule) { return (rule.mask & ~part.mask) == 0; }))
    return;
  const uint32_t bit = BitToSplit(near, part.mask);
  AddComplement(near, {part.mask | bit, part.value}, allowed);
  AddComplement(near, {part.mask | bit, part.value | bit}, allowed);
}

Json SyscallRule(const char* action, const RequestRule& rule) {
  return {{"names", {kCall}},
          {"action", action},
          {"args", Json::array({{{"index", kRequestArgument},
                                 {"value", rule.mask},
                                 {"valueTwo", rule.value},
                                 {"op", "SCMP_CMP_MASKED_EQ"}}})}};
}

// Takes the name out of what `rule`, of the base, allows. Whether it was there.
bool TakeOut(Json& rule) {
  if (!rule.is_object() || !rule.contains("action") || rule["action"] != kAllow || !rule.contains("names") ||
      !rule["names"].is_array())
    return false;
  Json& names = rule["names"];
  const auto found = std::find(names.begin(), names.end(), kCall);
  if (found == names.end()) return false;
  names.erase(found);
  return true;
}

}  // namespace

std::vector<RequestRule> Complement(const std::vector<RequestRule>& refused) {
  std::vector<RequestRule> allowed;
  AddComplement(refused, {0, 0}, &allowed);
  return allowed;
}

absl::StatusOr<std::string> ConfinedProfile(const std::string& base) {
  Json profile = Json::parse(base, nullptr, /*allow_exceptions=*/false);
  if (!profile.is_object() || !profile.contains("syscalls") || !profile["syscalls"].is_array())
    return absl::InvalidArgumentError("this is no seccomp profile: there is no list 'syscalls' in it");
  if (profile.contains("defaultAction") && profile["defaultAction"] == kAllow)
    return absl::InvalidArgumentError(
        "this profile allows what it does not name: it has to be a list of what is allowed");
  Json& rules = profile["syscalls"];
  bool allowed = false;
  for (Json& rule : rules) allowed |= TakeOut(rule);
  if (!allowed) return absl::InvalidArgumentError("this profile does not allow ioctl");
  rules.erase(std::remove_if(rules.begin(), rules.end(),
                             [](const Json& rule) {
                               return rule.is_object() && rule.contains("names") && rule["names"].empty();
                             }),
              rules.end());
  const std::vector<RequestRule> refused = RefusedRequests();
  for (const RequestRule& rule : refused) {
    rules.push_back(SyscallRule("SCMP_ACT_ERRNO", rule));
    rules.back()["errnoRet"] = EPERM;
  }
  for (const RequestRule& rule : Complement(refused)) rules.push_back(SyscallRule(kAllow, rule));
  return profile.dump(1, '\t') + "\n";
}

}  // namespace nvshim::broker::ctl
