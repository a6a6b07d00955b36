// Law: a call that blocks in the driver delays no other lane of its process, and no other process; and who
// leaves while one blocks leaves nothing behind.
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <future>
#include <memory>
#include <utility>
#include <vector>

#include "testing/guest/held_driver.h"
#include "testing/guest/raw_guest.h"
#include "testing/guest/worker_harness.h"

namespace nvshim::testing {
namespace {

constexpr uint32_t kUvmInitialize = 0x30000001, kUvmMigrate = 51;

class BlockingCallTest : public ::testing::Test {
 protected:
  BlockingCallTest() {
    auto driver = std::make_unique<HeldDriver>(kUvmMigrate, end_.get_future().share());
    begun_ = driver->begun();
    worker_ = std::make_unique<WorkerHarness>(std::move(driver));
    guest_ = worker_->NewProcess(1);
    uvm_ = *guest_->Open(DEVICE_CLASS_UVM);
    ctl_ = *guest_->Open(DEVICE_CLASS_CTL);
    const auto initialized = guest_->Ioctl(uvm_.file_id, kUvmInitialize, {{std::vector<uint8_t>(16), 0, 0}});
    EXPECT_EQ(initialized->error, 0);
    close(initialized->fd);
  }
  ~BlockingCallTest() override {
    for (int fd : {uvm_.fd, ctl_.fd}) close(fd);
  }

  // Publishes the call that blocks, on lane 1, and returns when the driver has it.
  std::future<std::optional<IoctlAnswer>> Block() {
    auto answer = std::async(std::launch::async, [this] {
      return guest_->Ioctl(uvm_.file_id, kUvmMigrate, {{std::vector<uint8_t>(80), 0, 0}}, {}, /*lane=*/1);
    });
    begun_.wait();
    return answer;
  }

  std::promise<void> end_;
  std::future<void> begun_;
  std::unique_ptr<WorkerHarness> worker_;
  std::unique_ptr<RawGuest> guest_;
  OpenAnswer uvm_, ctl_;
};

TEST_F(BlockingCallTest, OtherLanesAndProcessesGoOn) {
  auto blocked = Block();
  for (int i = 0; i < 100; ++i) ASSERT_EQ(AllocClient(*guest_, ctl_.file_id)->status, 0u);
  const auto other = worker_->NewProcess(2);
  ASSERT_TRUE(other->Open(DEVICE_CLASS_CTL));
  EXPECT_EQ(blocked.wait_for(std::chrono::seconds(0)), std::future_status::timeout);
  end_.set_value();
  const auto answer = blocked.get();
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->error, 0);
}

TEST_F(BlockingCallTest, AProcessThatLeavesMeanwhileLeavesNothing) {
  auto blocked = Block();
  close(std::exchange(uvm_.fd, -1));
  close(std::exchange(ctl_.fd, -1));
  shutdown(guest_->channel(), SHUT_RDWR);
  end_.set_value();
  blocked.wait();
  worker_->AwaitEmpty();
}

}  // namespace
}  // namespace nvshim::testing
