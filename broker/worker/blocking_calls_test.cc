// Laws: calls that block do not wait for each other, end in their own order, and each ends once.
#include "broker/worker/blocking_calls.h"

#include <gtest/gtest.h>
#include <poll.h>

#include <future>
#include <map>

namespace nvshim::broker {
namespace {

// A driver whose calls end when the test says so. The command names the call.
class HeldDriver final : public Driver {
 public:
  const DriverInfo& info() const override { return info_; }
  OpenResult Open(DeviceNode, uint32_t) override { return {0, 1}; }
  MapResult Map(DriverFileId) override { return {EINVAL, -1}; }
  void Close(DriverFileId) override {}
  int Ioctl(DriverFileId, DriverCall& call) override {
    std::unique_lock lock(mutex_);
    ++begun_[call.command];
    changed_.notify_all();
    changed_.wait(lock, [&] { return released_[call.command] != 0; });
    --released_[call.command];
    return static_cast<int>(call.command);
  }

  void AwaitBegun(uint32_t command) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return begun_[command] != 0; });
  }
  void Release(uint32_t command) {
    const std::lock_guard lock(mutex_);
    ++released_[command];
    changed_.notify_all();
  }
  bool begun(uint32_t command) {
    const std::lock_guard lock(mutex_);
    return begun_[command] != 0;
  }

 private:
  DriverInfo info_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<uint32_t, int> begun_, released_;
};

class BlockingCallsTest : public ::testing::Test {
 protected:
  void Run(uint32_t command) {
    DriverIoctl call{};
    call.token.lane = command;
    call.file = 1;
    call.call.command = command;
    calls_->Run(std::move(call));
  }
  std::vector<DriverReturned> AwaitEnded() {
    pollfd entry{calls_->fd(), POLLIN, 0};
    EXPECT_EQ(poll(&entry, 1, 30'000), 1);
    return calls_->TakeEnded();
  }

  HeldDriver driver_;
  std::unique_ptr<BlockingCalls> calls_ = BlockingCalls::Create(&driver_).value();
};

TEST_F(BlockingCallsTest, ACallThatBlocksHoldsNoOtherUp) {
  for (uint32_t command = 1; command <= BlockingCalls::kThreads; ++command) {
    Run(command);
    driver_.AwaitBegun(command);
  }
  for (uint32_t command = BlockingCalls::kThreads; command >= 1; --command) {
    driver_.Release(command);
    const auto ended = AwaitEnded();
    ASSERT_EQ(ended.size(), 1u);
    EXPECT_EQ(ended[0].token.lane, command) << "the last one first";
    EXPECT_EQ(ended[0].error, static_cast<int>(command));
    EXPECT_EQ(ended[0].call.command, command);
  }
}

TEST_F(BlockingCallsTest, MoreCallsThanThreadsTakeTurns) {
  constexpr uint32_t kCalls = 3 * BlockingCalls::kThreads;
  for (uint32_t command = 1; command <= kCalls; ++command) Run(command);
  for (uint32_t command = 1; command <= BlockingCalls::kThreads; ++command) driver_.AwaitBegun(command);
  EXPECT_FALSE(driver_.begun(kCalls));
  for (uint32_t command = 1; command <= kCalls; ++command) driver_.Release(command);
  std::map<uint32_t, int> ended;
  while (ended.size() < kCalls)
    for (const DriverReturned& one : AwaitEnded()) ++ended[one.token.lane];
  for (const auto& [lane, times] : ended) EXPECT_EQ(times, 1) << lane;
}

TEST_F(BlockingCallsTest, TheEndWaitsForWhatIsUnderWay) {
  Run(1);
  driver_.AwaitBegun(1);
  auto destroyed = std::async(std::launch::async, [this] { calls_.reset(); });
  driver_.Release(1);
  destroyed.wait();
}

}  // namespace
}  // namespace nvshim::broker
