#include "broker/supervisor/guest_table.h"

#include <chrono>

#include "gtest/gtest.h"

namespace nvshim::broker {
namespace {

using Key = GuestTable::Key;
using Time = GuestTable::Time;

Time At(int seconds) { return Time(std::chrono::seconds(seconds)); }

TEST(GuestTableTest, ANameIsOneGuest) {
  GuestTable table;
  const Key a = table.Add(7, "a", 11);
  const Key b = table.Add(7, "b", 12);
  EXPECT_NE(a, b);
  EXPECT_EQ(table.Find("a"), a);
  EXPECT_EQ(table.Find("b"), b);
  EXPECT_EQ(table.Find("c"), std::nullopt);
  EXPECT_EQ(table.Get(a).instance, 11u);
}

TEST(GuestTableTest, AGuestIsNotEmptyWhileAProcessIsOnTheWayToIt) {
  GuestTable table;
  const Key a = table.Add(1, "a", 0);
  table.NoteAttached(a);
  table.NoteAttached(a);
  EXPECT_FALSE(table.NoteEmpty(a, 1, At(0)));
  EXPECT_EQ(table.busy(), 1u);
  EXPECT_TRUE(table.NoteEmpty(a, 2, At(0)));
  EXPECT_EQ(table.busy(), 0u);
  table.NoteAttached(a);
  EXPECT_EQ(table.busy(), 1u);
}

TEST(GuestTableTest, EmptyGuestsAreFoundByTheirAge) {
  GuestTable table;
  const Key a = table.Add(1, "a", 0);
  const Key b = table.Add(2, "b", 0);
  EXPECT_EQ(table.OldestEmpty(), std::nullopt);
  table.NoteEmpty(b, 0, At(5));
  table.NoteEmpty(a, 0, At(6));
  EXPECT_EQ(table.OldestEmpty(), At(5));
  EXPECT_EQ(table.EmptySince(At(4)), (std::vector<Key>{}));
  EXPECT_EQ(table.EmptySince(At(5)), (std::vector<Key>{b}));
  EXPECT_EQ(table.EmptySince(At(6)), (std::vector<Key>{a, b}));
}

TEST(GuestTableTest, ALostWorkerTakesItsGuestsAlongAndNoOther) {
  GuestTable table;
  table.Add(1, "a", 0);
  const Key b = table.Add(2, "b", 0);
  table.Add(1, "c", 0);
  EXPECT_EQ(table.RemoveWorker(1), 2u);
  EXPECT_EQ(table.size(), 1u);
  EXPECT_EQ(table.Find("a"), std::nullopt);
  EXPECT_EQ(table.Find("b"), b);
  EXPECT_FALSE(table.NoteEmpty({1, 1}, 0, At(0)));
}

TEST(GuestTableTest, AnAdoptedGuestGetsTheProcessesOfItsName) {
  GuestTable table;
  table.Adopt({3, 40}, {.name = "a", .instance = 9, .attached = 5});
  EXPECT_EQ(table.Find("a"), (Key{3, 40}));
  EXPECT_FALSE(table.NoteEmpty({3, 40}, 4, At(0)));
  EXPECT_TRUE(table.NoteEmpty({3, 40}, 5, At(0)));
  EXPECT_GT(table.Add(4, "b", 0).second, 40u);
}

// A worker that says hello late may serve somebody who has got another worker meanwhile.
TEST(GuestTableTest, TwoGuestsOfOneNameAreApart) {
  GuestTable table;
  const Key young = table.Add(2, "a", 0);
  table.Adopt({1, 1}, {.name = "a"});
  EXPECT_EQ(table.Find("a"), young);
  EXPECT_EQ(table.size(), 2u);
  table.Remove({1, 1});
  EXPECT_EQ(table.Find("a"), young);
  table.Remove(young);
  EXPECT_EQ(table.Find("a"), std::nullopt);
}

TEST(GuestTableTest, ANameCountsBeforeANumber) {
  GuestTable table;
  const auto first = table.Add(1, "two", 0), second = table.Add(1, std::to_string(first.second), 0);
  EXPECT_EQ(table.KeysOf("two"), std::vector{first});
  EXPECT_EQ(table.KeysOf(std::to_string(first.second)), std::vector{second});
  EXPECT_EQ(table.KeysOf(std::to_string(second.second)), std::vector{second});
  EXPECT_TRUE(table.KeysOf("three").empty());
}

// As after a restart while the earlier supervisor's worker still serves it.
TEST(GuestTableTest, AllGuestsOfANameAreFound) {
  GuestTable table;
  table.Adopt({1, 5}, {.name = "a"});
  table.Adopt({2, 6}, {.name = "a"});
  EXPECT_EQ(table.KeysOf("a").size(), 2u);
}

TEST(GuestTableTest, AGuestThatWasKilledIsForgottenAsSoonAsItIsEmpty) {
  GuestTable table;
  const auto killed = table.Add(1, "a", 0), back = table.Add(1, "b", 0);
  const GuestTable::Time now{std::chrono::hours(1)}, long_ago{};
  for (const auto& key : {killed, back}) {
    table.NoteAttached(key);
    table.NoteKilled(key);
  }
  table.NoteAttached(back);  // somebody has connected since
  EXPECT_TRUE(table.NoteEmpty(killed, 1, now));
  EXPECT_TRUE(table.NoteEmpty(back, 2, now));
  EXPECT_EQ(table.EmptySince(long_ago), std::vector{killed});
}

}  // namespace
}  // namespace nvshim::broker
