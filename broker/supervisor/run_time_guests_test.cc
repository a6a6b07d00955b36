#include "broker/supervisor/run_time_guests.h"

#include <stdlib.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "gtest/gtest.h"

namespace nvshim::broker {
namespace {

class RunTimeGuestsTest : public ::testing::Test {
 protected:
  RunTimeGuestsTest() : folder_("/tmp/run_time_guests_test-XXXXXX") {
    EXPECT_NE(mkdtemp(folder_.data()), nullptr);
  }
  ~RunTimeGuestsTest() override { std::filesystem::remove_all(folder_); }

  std::string Path() const { return folder_ + "/state"; }

  std::string folder_;
};

TEST_F(RunTimeGuestsTest, TheNextSupervisorFindsWhatThisOneWasTold) {
  RunTimeGuests before(Path());
  ASSERT_TRUE(before.Load().ok());
  ASSERT_TRUE(
      before.Put("a", {"/run/a.sock", {{Resource::kObjects, 7}, {Resource::kVideoMemory, kNoLimit}}}).ok());
  ASSERT_TRUE(before.Put("b", {"", {{Resource::kFiles, 3}}}).ok());
  ASSERT_TRUE(before.Put("b", {}).ok());  // nothing is said of it any more
  RunTimeGuests after(Path());
  ASSERT_TRUE(after.Load().ok());
  ASSERT_EQ(after.all().size(), 1u);
  EXPECT_EQ(after.Get("a").socket, "/run/a.sock");
  EXPECT_EQ(after.Get("a").limits, (SomeLimits{{Resource::kObjects, 7}, {Resource::kVideoMemory, kNoLimit}}));
  EXPECT_TRUE(after.Get("b").limits.empty());
}

TEST_F(RunTimeGuestsTest, ABrokerThatIsStoppedLeavesNothing) {
  RunTimeGuests guests(Path());
  ASSERT_TRUE(guests.Put("a", {"/run/a.sock", {}}).ok());
  guests.RemoveFile();
  EXPECT_TRUE(std::filesystem::is_empty(folder_));
}

TEST_F(RunTimeGuestsTest, ABrokenFileIsRefusedWhole) {
  std::ofstream(Path()) << "not what was written";
  RunTimeGuests guests(Path());
  EXPECT_FALSE(guests.Load().ok());
  EXPECT_TRUE(guests.all().empty());
}

TEST_F(RunTimeGuestsTest, ALinkIsNotFollowed) {
  std::ofstream(folder_ + "/elsewhere") << "";
  ASSERT_EQ(symlink((folder_ + "/elsewhere").c_str(), Path().c_str()), 0);
  EXPECT_FALSE(RunTimeGuests(Path()).Load().ok());
}

TEST_F(RunTimeGuestsTest, WhatCannotBeWrittenHasNotChanged) {
  RunTimeGuests guests(folder_ + "/missing/state");
  EXPECT_FALSE(guests.Put("a", {"/run/a.sock", {}}).ok());
  EXPECT_TRUE(guests.all().empty());
}

google::protobuf::RepeatedPtrField<OwnLimit> One(const std::string& kind, uint64_t limit) {
  google::protobuf::RepeatedPtrField<OwnLimit> message;
  OwnLimit* one = message.Add();
  one->set_kind(kind);
  one->set_limit(limit);
  return message;
}

TEST(LimitsFromTest, TakesWhatAGuestCanHaveAndNothingElse) {
  EXPECT_EQ(*LimitsFrom(One("objects", 5)), (SomeLimits{{Resource::kObjects, 5}}));
  EXPECT_EQ(*LimitsFrom(One("objects", kNoLimit)), (SomeLimits{{Resource::kObjects, kNoLimit}}));
  EXPECT_FALSE(LimitsFrom(One("shoes", 5)).ok());
  EXPECT_FALSE(LimitsFrom(One("files", kFilesPerGuestMax + 1)).ok());
  EXPECT_FALSE(LimitsFrom(One("frames_per_second", 0)).ok());
}

TEST(IsGuestNameTest, NamesThatWouldLeaveTheFolderAreNone) {
  EXPECT_TRUE(IsGuestName("team-a.2"));
  for (const char* name : {"", ".", "..", "../a", "a/b", "-a", ".a", "a b", "a=b", "\n"})
    EXPECT_FALSE(IsGuestName(name)) << name;
  EXPECT_FALSE(IsGuestName(std::string(65, 'a')));
}

}  // namespace
}  // namespace nvshim::broker
