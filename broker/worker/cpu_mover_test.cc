#include "broker/worker/cpu_mover.h"

#include <gtest/gtest.h>
#include <sched.h>

namespace nvshim::broker {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

class MovePolicyTest : public ::testing::Test {
 protected:
  // `calls` calls, each `gap` after the one before; how many of them moved the worker.
  int Moves(int calls, microseconds gap) {
    int moves = 0;
    for (int i = 0; i < calls; ++i) moves += policy_.NoteShared(now_ += gap) ? 1 : 0;
    return moves;
  }

  MovePolicy policy_;
  MovePolicy::Clock::time_point now_{std::chrono::hours(1)};
};

TEST_F(MovePolicyTest, ABurstMovesOnce) {
  EXPECT_EQ(Moves(MovePolicy::kCallsPerMove - 1, microseconds(5)), 0);
  EXPECT_EQ(Moves(1, microseconds(5)), 1);
}

TEST_F(MovePolicyTest, CallsWithPausesNeverMove) { EXPECT_EQ(Moves(10'000, microseconds(201)), 0); }

TEST_F(MovePolicyTest, WhoIsBroughtBackAtOnceIsLeftAloneForLongerAndLonger) {
  // A second of calls from the same CPU: a move after 1, 2, 4 ... ms, and not one each 80 us.
  const int moves = Moves(200'000, microseconds(5));
  EXPECT_GE(moves, 8);
  EXPECT_LE(moves, 12);
  EXPECT_LE(Moves(200'000, microseconds(5)), 2);
}

TEST_F(MovePolicyTest, AfterALongTimeElsewhereItStartsAnew) {
  Moves(400'000, microseconds(5));
  now_ += std::chrono::seconds(10);
  EXPECT_EQ(Moves(MovePolicy::kCallsPerMove, microseconds(5)), 1);
  now_ += milliseconds(60);
  EXPECT_EQ(Moves(MovePolicy::kCallsPerMove, microseconds(5)), 1);
}

TEST(LeaveCpuTest, TheThreadIsElsewhereAndMayComeBack) {
  cpu_set_t before, after;
  ASSERT_EQ(sched_getaffinity(0, sizeof(before), &before), 0);
  if (CPU_COUNT(&before) < 2) GTEST_SKIP() << "one CPU only";
  for (unsigned cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &before)) continue;
    LeaveCpu(cpu);
    ASSERT_EQ(sched_getaffinity(0, sizeof(after), &after), 0);
    EXPECT_TRUE(CPU_EQUAL(&before, &after));
  }
}

}  // namespace
}  // namespace nvshim::broker
