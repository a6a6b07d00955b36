#include "broker/supervisor/worker_uids.h"

#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

namespace nvshim::broker {
namespace {

std::string Complaint(const std::string& text) { return std::string(ParseUidRange(text).status().message()); }

TEST(ParseUidRangeTest, TakesTwoUserIds) {
  const auto range = ParseUidRange("20000-20009");
  ASSERT_TRUE(range.ok());
  EXPECT_EQ(range->first, 20'000u);
  EXPECT_EQ(range->last, 20'009u);
  EXPECT_TRUE(ParseUidRange("7-7").ok());
  EXPECT_TRUE(ParseUidRange("1-4294967294").ok());
}

TEST(ParseUidRangeTest, SaysWhatIsWrong) {
  for (const char* text : {"", "-", "5", "5-", "-5", "a-b", "5-6-7", "5--6", "5-4294967296", "1.5-2"})
    EXPECT_NE(Complaint(text).find("FIRST-LAST is wanted"), std::string::npos) << text;
  EXPECT_NE(Complaint("6-5").find("greater"), std::string::npos);
  EXPECT_NE(Complaint("0-5").find("root"), std::string::npos);
  EXPECT_NE(Complaint("5-4294967295").find("no user id"), std::string::npos);
}

TEST(WorkerUidsTest, NoTwoLeasesHaveOneUid) {
  WorkerUids uids({5, 7});
  const WorkerUids::Lease a = uids.Take(), b = uids.Take(), c = uids.Take();
  EXPECT_EQ(a.uid(), 5u);
  EXPECT_EQ(b.uid(), 6u);
  EXPECT_EQ(c.uid(), 7u);
  EXPECT_EQ(uids.Take().uid(), std::nullopt);
}

TEST(WorkerUidsTest, AUidIsFreeWhenItsLeaseIsGone) {
  WorkerUids uids({5, 6});
  const WorkerUids::Lease kept = uids.Take();
  for (int i = 0; i < 10; ++i) EXPECT_EQ(uids.Take().uid(), 6u);
}

TEST(WorkerUidsTest, AFreedUidIsUsedAfterTheOthers) {
  WorkerUids uids({5, 7});
  std::vector<uid_t> taken;
  for (int i = 0; i < 4; ++i) taken.push_back(*uids.Take().uid());
  EXPECT_EQ(taken, (std::vector<uid_t>{5, 6, 7, 5}));
}

TEST(WorkerUidsTest, AMovedLeaseIsFreedOnce) {
  WorkerUids uids({5, 5});
  WorkerUids::Lease lease;
  EXPECT_EQ(lease.uid(), std::nullopt);
  {
    WorkerUids::Lease first = uids.Take();
    lease = std::move(first);
  }
  EXPECT_EQ(lease.uid(), 5u);
  EXPECT_EQ(uids.Take().uid(), std::nullopt);
  lease = {};
  EXPECT_EQ(uids.Take().uid(), 5u);
}

TEST(WorkerUidsTest, AUidThatIsInUseAlreadyIsNotHandedOut) {
  WorkerUids uids({5, 6});
  WorkerUids::Lease found = uids.TakeThis(5);
  EXPECT_EQ(found.uid(), 5u);
  EXPECT_EQ(uids.TakeThis(5).uid(), std::nullopt);
  EXPECT_EQ(uids.TakeThis(4).uid(), std::nullopt);
  EXPECT_EQ(uids.TakeThis(7).uid(), std::nullopt);
  EXPECT_EQ(uids.Take().uid(), 6u);
  found = {};
  EXPECT_EQ(uids.Take().uid(), 5u);
}

TEST(WorkerUidsTest, TheGreatestRangeWorks) {
  WorkerUids uids({1, 4'294'967'294});
  EXPECT_EQ(uids.Take().uid(), 1u);
}

}  // namespace
}  // namespace nvshim::broker
