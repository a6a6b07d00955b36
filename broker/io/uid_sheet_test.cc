// Laws of a uid's sheet: all who map it see one sum; no two of them together get more than the limit, at
// whatever moment they ask; a row that is cleared gives back what was in it.
#include "broker/io/uid_sheet.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <thread>

namespace nvshim::broker {
namespace {

constexpr Resource kKind = Resource::kObjects;

Limits With(uint64_t limit) {
  Limits limits = NoLimits();
  limits[kKind] = limit;
  return limits;
}

TEST(UidSheetTest, EverybodyWhoMapsItSeesOneSum) {
  const auto sheet = *UidSheet::Create();
  const auto same = *UidSheet::Map(Fd(dup(sheet->memfd())));
  sheet->UseRows(2);
  UidRow first(sheet, 0, With(10)), second(same, 1, With(10));
  EXPECT_TRUE(first.Raise(kKind, 0, 6));
  EXPECT_FALSE(second.Raise(kKind, 0, 5));
  EXPECT_EQ(second.used(kKind), 6u) << "what is refused is not held";
  EXPECT_TRUE(second.Raise(kKind, 0, 4));
  EXPECT_FALSE(first.Raise(kKind, 6, 7));
  EXPECT_EQ(first.used(kKind), 10u) << "what was held before still is";
  first.Set(kKind, 1);
  EXPECT_TRUE(second.Raise(kKind, 4, 9));
  EXPECT_EQ(sheet->Sum(kKind), 10u);
  EXPECT_EQ(sheet->Sum(Resource::kFiles), 0u);
}

TEST(UidSheetTest, ADeadWorkersRowIsGivenBack) {
  const auto sheet = *UidSheet::Create();
  sheet->UseRows(2);
  UidRow living(sheet, 0, With(10));
  {
    UidRow dead(*UidSheet::Map(Fd(dup(sheet->memfd()))), 1, With(10));
    EXPECT_TRUE(dead.Raise(kKind, 0, 10));
  }
  EXPECT_FALSE(living.Raise(kKind, 0, 1));
  sheet->Clear(1);
  EXPECT_TRUE(living.Raise(kKind, 0, 10));
}

TEST(UidSheetTest, NothingIsTooLargeToBeAddedUp) {
  const auto sheet = *UidSheet::Create();
  sheet->UseRows(3);
  UidRow first(sheet, 0, NoLimits()), second(sheet, 1, NoLimits()), third(sheet, 2, With(100));
  EXPECT_TRUE(first.Raise(kKind, 0, kNoLimit - 1));
  EXPECT_TRUE(second.Raise(kKind, 0, kNoLimit - 1));
  EXPECT_FALSE(third.Raise(kKind, 0, 1));
}

TEST(UidSheetTest, WhateverStandsInTheHeaderNoRowBehindTheLastIsRead) {
  const auto sheet = *UidSheet::Create();
  sheet->UseRows(0xffffffff);
  EXPECT_EQ(sheet->Sum(kKind), 0u);
}

TEST(UidSheetTest, AFileOfAnotherSizeIsNoSheet) {
  const auto sheet = *UidSheet::Create();
  EXPECT_NE(ftruncate(sheet->memfd(), 4096), 0) << "nobody who has it can shrink it";
  EXPECT_FALSE(UidSheet::Map(Fd(memfd_create("empty", 0))).ok());
}

// Both look at the sheet just before, so that nothing but the asking itself decides who sees whom.
TEST(UidSheetTest, OfTwoThatAskForTheLastAtOnceNoMoreThanOneGetsIt) {
  constexpr uint32_t kRounds = 20'000;
  constexpr int kSpins = 1000;
  const auto sheet = *UidSheet::Create();
  sheet->UseRows(2);
  std::atomic<uint32_t> arrived = 0, got = 0, both = 0;
  const auto meet = [&](uint32_t times) {
    arrived.fetch_add(1);
    // Without a system call as long as the other is about to come: they are to go on at the same moment.
    for (int spins = 0; arrived.load() < 2 * times; ++spins)
      if (spins > kSpins) std::this_thread::yield();
  };
  const auto ask = [&](uint32_t index) {
    UidRow row(sheet, index, With(1));
    for (uint32_t round = 0; round < kRounds; ++round) {
      meet(4 * round + 1);
      EXPECT_EQ(sheet->Sum(kKind), 0u);
      meet(4 * round + 2);
      if (row.Raise(kKind, 0, 1)) got.fetch_add(1);
      meet(4 * round + 3);
      if (got.load() == 2) both.fetch_add(1);
      meet(4 * round + 4);
      got.store(0);
      row.Set(kKind, 0);
    }
  };
  std::thread other(ask, 1);
  ask(0);
  other.join();
  EXPECT_EQ(both.load(), 0u);
}

TEST(UidSheetTest, FramesOfAllGuestsComeOutOfOneBucket) {
  const auto sheet = *UidSheet::Create();
  Limits limits = NoLimits();
  limits[Resource::kFramesPerSecond] = 4;
  UidRow first(sheet, 0, limits), second(sheet, 1, limits);
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(first.NextFrameNs(9), 9u);
    EXPECT_EQ(second.NextFrameNs(9), 9u);
  }
  EXPECT_EQ(first.NextFrameNs(9), 250'000'009u);
  EXPECT_EQ(second.NextFrameNs(9), 500'000'009u);
}

}  // namespace
}  // namespace nvshim::broker
