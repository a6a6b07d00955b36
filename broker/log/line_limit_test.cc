#include "broker/log/line_limit.h"

#include <gtest/gtest.h>

namespace nvshim::broker {
namespace {

using std::chrono::hours;

class LineLimitTest : public ::testing::Test {
 protected:
  // Lines that `guest` gets of many that it causes at once.
  int Burst(std::string_view guest) {
    int lines = 0;
    for (int i = 0; i < 10 * LineLimit::kLinesAtOnce; ++i) lines += limit_.Take(guest, now_).has_value();
    return lines;
  }

  LineLimit limit_;
  LineLimit::Clock::time_point now_{hours(1000)};
};

TEST_F(LineLimitTest, SomeAtOnceAndThenOneFromTimeToTime) {
  EXPECT_EQ(Burst("a"), LineLimit::kLinesAtOnce);
  now_ += LineLimit::kOneMoreEvery;
  EXPECT_EQ(Burst("a"), 1);
  now_ += hours(1);
  EXPECT_EQ(Burst("a"), LineLimit::kLinesAtOnce) << "no more are saved up";
}

TEST_F(LineLimitTest, TellsHowManyWereLeftOutOnce) {
  for (int i = 0; i < LineLimit::kLinesAtOnce; ++i) EXPECT_EQ(limit_.Take("a", now_), 0u);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(limit_.Take("a", now_), std::nullopt);
  now_ += hours(1);
  EXPECT_EQ(limit_.Take("a", now_), 3u);
  EXPECT_EQ(limit_.Take("a", now_), 0u);
}

TEST_F(LineLimitTest, OneGuestTakesNoLinesOfAnother) {
  Burst("a");
  EXPECT_EQ(Burst("b"), LineLimit::kLinesAtOnce);
}

TEST_F(LineLimitTest, ManyGuestsAreAFewLinesAndBoundedMemory) {
  for (size_t i = 0; i < 3 * LineLimit::kGuestsMax; ++i) limit_.Take("guest " + std::to_string(i), now_);
  EXPECT_LE(limit_.guests(), LineLimit::kGuestsMax + 1);
  EXPECT_EQ(Burst("one more"), 0) << "those without room share";
  now_ += hours(1);
  EXPECT_EQ(Burst("one more"), LineLimit::kLinesAtOnce) << "the quiet ones are forgotten";
}

}  // namespace
}  // namespace nvshim::broker
