// Law: a call that blocks in the driver delays no other lane of its process, and no other process; and who
// leaves while one blocks leaves nothing behind.
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <chrono>
#include <future>

#include "testing/guest/blocking_guest.h"

namespace nvshim::testing {
namespace {

TEST(BlockingCallTest, OtherLanesAndProcessesGoOn) {
  BlockingGuest one;
  auto blocked = one.Block();
  for (int i = 0; i < 100; ++i) ASSERT_EQ(AllocClient(one.guest(), one.ctl())->status, 0u);
  const auto other = one.worker().NewProcess(2);
  ASSERT_TRUE(other->Open(DEVICE_CLASS_CTL));
  EXPECT_EQ(blocked.wait_for(std::chrono::seconds(0)), std::future_status::timeout);
  one.End();
  const auto answer = blocked.get();
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->error, 0);
}

TEST(BlockingCallTest, AProcessThatLeavesMeanwhileLeavesNothing) {
  BlockingGuest one;
  auto blocked = one.Block();
  one.CloseFiles();
  shutdown(one.guest().channel(), SHUT_RDWR);
  one.End();
  blocked.wait();
  one.worker().AwaitEmpty();
}

}  // namespace
}  // namespace nvshim::testing
