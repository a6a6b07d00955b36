// Worlds of guests (sim_world.h), one after the other, each from a seed of its own. Laws: whatever comes, the
// invariants hold; and the same seed gives the same trace.
//
//   NVSHIM_EVENTS=20000000     how many events, over all worlds together
//   NVSHIM_SEED=<seed>         the first world's; of a failing one, with NVSHIM_EVENTS=1 that world alone
#include "testing/sim_world/sim_world.h"

#include <gtest/gtest.h>

#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <random>

namespace nvshim::testing {
namespace {

// Of a run that asks for nothing else: some ten seconds.
constexpr uint64_t kEventsPerRun = 200'000;

// Of one world: long enough for guests to fill their quotas and their tables.
constexpr uint64_t kEventsPerWorld = 5'000;

uint64_t FromEnvironment(const char* name, uint64_t otherwise) {
  const char* value = std::getenv(name);
  return value == nullptr ? otherwise : std::strtoull(value, nullptr, 0);
}

TEST(SimWorldTest, WhateverHappensTheInvariantsHoldAndNothingIsLeft) {
  const uint64_t first = FromEnvironment("NVSHIM_SEED", std::random_device()());
  const uint64_t events_wanted = FromEnvironment("NVSHIM_EVENTS", kEventsPerRun);
  std::printf("NVSHIM_SEED=%" PRIu64 "\n", first);
  uint64_t events = 0, seed = first;
  SimWorld::Tally sum;
  for (; events < events_wanted; ++seed) {
    SimWorld world(seed);
    world.Run(kEventsPerWorld);
    ASSERT_EQ(world.problem(), "") << "NVSHIM_SEED=" << seed << ", the last events:\n"
                                   << world.trace().Last();
    events += world.events();
    const SimWorld::Tally& tally = world.tally();
    sum.guests += tally.guests;
    sum.deaths += tally.deaths;
    sum.calls += tally.calls;
    sum.faults += tally.faults;
    sum.late += tally.late;
    sum.over_quota += tally.over_quota;
    sum.broken += tally.broken;
  }
  std::printf("%" PRIu64 " worlds, %" PRIu64 " events: %" PRIu64 " guests, %" PRIu64
              " deaths of processes, %" PRIu64 " calls, %" PRIu64 " faults of the driver, %" PRIu64
              " late answers, %" PRIu64 " over quota, %" PRIu64 " processes that broke the protocol\n",
              seed - first, events, sum.guests, sum.deaths, sum.calls, sum.faults, sum.late, sum.over_quota,
              sum.broken);
  // A world in which nothing happens proves nothing.
  if (events_wanted < kEventsPerRun) return;
  for (uint64_t count : {sum.deaths, sum.calls, sum.faults, sum.late, sum.over_quota, sum.broken})
    EXPECT_GT(count, 0u);
}

TEST(SimWorldTest, TheSameSeedGivesTheSameTrace) {
  const uint64_t seed = FromEnvironment("NVSHIM_SEED", std::random_device()());
  std::printf("NVSHIM_SEED=%" PRIu64 "\n", seed);
  uint64_t other_hash = 0;
  for (uint64_t one = seed; one < seed + std::size(broker::kPolicySets); ++one) {
    SimWorld world(one), again(one);
    world.Run(kEventsPerWorld);
    again.Run(kEventsPerWorld);
    EXPECT_EQ(world.trace().hash(), again.trace().hash()) << "NVSHIM_SEED=" << one;
    EXPECT_NE(world.trace().hash(), other_hash);
    other_hash = world.trace().hash();
  }
}

}  // namespace
}  // namespace nvshim::testing
