#include "broker/worker/refusal_log.h"

#include <gtest/gtest.h>

#include <vector>

namespace nvshim::broker {
namespace {

constexpr uint64_t kMinuteNs = RefusalLog::kOneLineEveryNs;

NoteRefusal NoteOf(Reason reason, uint32_t number, bool in_shadow = false) {
  return {static_cast<GuestId>(1), Refusal::Errno(reason, EINVAL, number), in_shadow};
}

TEST(RefusalLogTest, TheFirstOfAReasonIsToldAtOnce) {
  RefusalLog log;
  const auto line = log.Take(NoteOf(Reason::kUnknownClass, 0xa083), 5);
  ASSERT_TRUE(line);
  EXPECT_EQ(line->note.refusal.number, 0xa083u);
  EXPECT_EQ(line->times, 1u);
}

TEST(RefusalLogTest, LaterOnesAreOneLineAMinuteThatCountsThem) {
  RefusalLog log;
  log.Take(NoteOf(Reason::kUnknownClass, 1), 0);
  for (uint32_t i = 0; i < 100; ++i) EXPECT_FALSE(log.Take(NoteOf(Reason::kUnknownClass, i), kMinuteNs - 1));
  const auto line = log.Take(NoteOf(Reason::kUnknownClass, 7), kMinuteNs);
  ASSERT_TRUE(line);
  EXPECT_EQ(line->times, 101u);
  EXPECT_EQ(line->note.refusal.number, 7u);
  EXPECT_FALSE(log.Take(NoteOf(Reason::kUnknownClass, 7), 2 * kMinuteNs - 1)) << "counted from the last line";
}

TEST(RefusalLogTest, ReasonsAndShadowsHaveLinesOfTheirOwn) {
  RefusalLog log;
  EXPECT_TRUE(log.Take(NoteOf(Reason::kUnknownClass, 1), 0));
  EXPECT_TRUE(log.Take(NoteOf(Reason::kDeniedByPolicy, 1), 0));
  EXPECT_TRUE(log.Take(NoteOf(Reason::kDeniedByPolicy, 1, /*in_shadow=*/true), 0));
  EXPECT_FALSE(log.Take(NoteOf(Reason::kDeniedByPolicy, 1), 0));
}

TEST(RefusalLogTest, NothingIsUntoldWhenTheGuestHasLeft) {
  RefusalLog log;
  uint64_t times = 0;
  for (int i = 0; i < 10; ++i)
    if (const auto line = log.Take(NoteOf(Reason::kBadSize, 1), 0)) times += line->times;
  const auto add = [&](const RefusalLog::Line& line) { times += line.times; };
  log.TakeRest(add);
  EXPECT_EQ(times, 10u);
  log.TakeRest(add);
  EXPECT_EQ(times, 10u) << "once";
}

}  // namespace
}  // namespace nvshim::broker
