// Histories of guests through the real core (history.h), for every driver version that has a table and under
// several policies. A step of a history is one number, from which all its choices are drawn: what RapidCheck
// shrinks is the list of steps.
//
//   NVSHIM_OPERATIONS=5000000     how many steps, over all versions and policies together
//   NVSHIM_SEED=<seed>            repeats a run; printed at its start
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <random>
#include <string>
#include <tuple>
#include <vector>

#include "testing/property/history.h"
#include "testing/property/policy_sets.h"

namespace nvshim::broker {
namespace {

// Of a run that asks for nothing else: some ten seconds.
constexpr uint64_t kOperationsPerRun = 1'000'000;

// Lengths of histories. The end comes at every point of a call's life; one in eight is long enough for tables
// to grow.
constexpr uint32_t kShortMax = 500, kLongMax = 4000;
constexpr uint64_t kLengthMean = (7 * (kShortMax / 2) + kLongMax / 2) / 8;

uint64_t FromEnvironment(const char* name, uint64_t otherwise) {
  const char* value = std::getenv(name);
  return value == nullptr ? otherwise : std::strtoull(value, nullptr, 0);
}

using Steps = std::vector<uint32_t>;

// "" or what is wrong. The seed of the last moments is of no interest: it is that of the number of steps.
std::string ProblemIn(const abi::Table& table, PolicySet set, const Steps& steps) {
  History history(table, VerdictsOf(set, table));
  for (uint32_t step : steps) {
    Random random(step);
    history.RunStep(random);
  }
  Random random(steps.size());
  history.End(random);
  if (!history.problem().empty()) return history.problem();
  return history.ReplayAgrees() ? "" : "the same events gave other actions";
}

using VersionAndPolicy = std::tuple<const abi::Table*, PolicySet>;

class CoreHistoryTest : public ::testing::TestWithParam<VersionAndPolicy> {};

// RapidCheck takes its configuration from the environment, once.
void ConfigureRapidCheck() {
  static const bool once = [] {
    const uint64_t seed = FromEnvironment("NVSHIM_SEED", uint64_t{std::random_device()()} << 20);
    const uint64_t operations = FromEnvironment("NVSHIM_OPERATIONS", kOperationsPerRun);
    const uint64_t histories =
        std::max<uint64_t>(1, operations / kLengthMean / abi::Tables().size / std::size(kPolicySets));
    const std::string params = "seed=" + std::to_string(seed) + " max_success=" + std::to_string(histories);
    setenv("RC_PARAMS", params.c_str(), 1);
    std::printf("NVSHIM_SEED=%llu, %llu histories per version and policy\n",
                static_cast<unsigned long long>(seed), static_cast<unsigned long long>(histories));
    return true;
  }();
  (void)once;
}

TEST_P(CoreHistoryTest, WhateverHappensTheInvariantsHoldAndNothingIsLeft) {
  ConfigureRapidCheck();
  const auto [table, set] = GetParam();
  uint64_t operations = 0;
  const bool holds = rc::check(std::string(table->driver_version), [&, table = table, set = set] {
    const uint32_t length_max = *rc::gen::weightedElement<uint32_t>({{7, kShortMax}, {1, kLongMax}});
    const auto length = *rc::gen::resize(rc::kNominalSize, rc::gen::inRange(0u, length_max));
    const auto steps = *rc::gen::container<Steps>(length, rc::gen::noShrink(rc::gen::arbitrary<uint32_t>()));
    operations += steps.size();
    RC_ASSERT(ProblemIn(*table, set, steps) == "");
  });
  std::printf("%s, policy %s: %llu operations\n", std::string(table->driver_version).c_str(),
              kPolicySetNames[static_cast<size_t>(set)], static_cast<unsigned long long>(operations));
  EXPECT_TRUE(holds);
}

std::string NameOf(const ::testing::TestParamInfo<VersionAndPolicy>& info) {
  const auto [table, set] = info.param;
  std::string name(table->driver_version);
  std::replace(name.begin(), name.end(), '.', '_');
  return name + "_" + kPolicySetNames[static_cast<size_t>(set)];
}

INSTANTIATE_TEST_SUITE_P(EveryVersionAndPolicy, CoreHistoryTest,
                         ::testing::Combine(::testing::ValuesIn(abi::Tables().begin(), abi::Tables().end()),
                                            ::testing::ValuesIn(kPolicySets)),
                         NameOf);

}  // namespace
}  // namespace nvshim::broker
