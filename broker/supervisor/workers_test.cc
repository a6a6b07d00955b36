#include "broker/supervisor/workers.h"

#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <memory>
#include <vector>

#include "broker/io/socket.h"
#include "gtest/gtest.h"

namespace nvshim::broker {
namespace {

constexpr uint32_t kWorker = 7;

// Plays a supervisor that comes second. The first one is the test as well, which has made the socket, and the
// worker a child of it that knows no more than to say hello.
class WorkersTest : public ::testing::Test {
 protected:
  WorkersTest() : folder_("/tmp/workers_test-XXXXXX"), loop_(*Loop::Create()) {
    EXPECT_NE(mkdtemp(folder_.data()), nullptr);  // with mode 0700
    workers_ = std::make_unique<Workers>(
        WorkersOptions{
            .folder = folder_,
            .arguments = {},
            .uids = {},
            .message_tag = 1,
            .end_tag = 2,
            .on_message = [this](uint32_t, const FromWorker& message) { heard_.push_back(message); },
            .on_gone = [](uint32_t, pid_t) {}},
        loop_.get());
  }

  ~WorkersTest() override {
    if (child_ > 0) {
      kill(child_, SIGKILL);
      waitpid(child_, nullptr, 0);
    }
    std::filesystem::remove_all(folder_);
  }

  std::string SocketPath() const { return folder_ + "/" + std::to_string(kWorker); }

  // Says hello to whoever connects, as the process `pid`; 0: as what it is. The first connection is made
  // before it listens by itself, as when its supervisor has died early, unless `listens_early`.
  void StartFakeWorker(bool listens_early, uint32_t pid = 0) {
    const Fd listener = *Listen(SocketPath(), 0600);
    child_ = fork();
    if (child_ != 0) return;
    if (listens_early && !ListenHere(listener.get()).ok()) _exit(1);
    std::vector<Fd> supervisors;
    for (;;) {
      pollfd entry{listener.get(), POLLIN, 0};
      poll(&entry, 1, -1);
      supervisors.push_back(Accept(listener.get()));
      if (!ListenHere(listener.get()).ok()) _exit(1);
      FromWorker message;
      message.mutable_hello()->set_pid(pid == 0 ? static_cast<uint32_t>(getpid()) : pid);
      Send(supervisors.back().get(), message.SerializeAsString());
    }
  }

  std::string folder_;
  std::unique_ptr<Loop> loop_;
  std::vector<FromWorker> heard_;
  std::unique_ptr<Workers> workers_;
  pid_t child_ = -1;
};

TEST_F(WorkersTest, FindsAWorkerAndEndsIt) {
  StartFakeWorker(/*listens_early=*/true);
  // The child may not have come to listen yet; then this is the next test.
  ASSERT_TRUE(workers_->TakeOver().ok());
  ASSERT_EQ(heard_.size(), 1u);
  EXPECT_EQ(workers_->PidOf(kWorker), child_);
  workers_->EndAll();
  int status = 0;
  ASSERT_EQ(waitpid(child_, &status, 0), child_);
  child_ = -1;
  EXPECT_EQ(WTERMSIG(status), SIGKILL);
  EXPECT_FALSE(std::filesystem::exists(folder_));
}

TEST_F(WorkersTest, AWorkerThatListensLateIsNotTakenForItsSupervisor) {
  StartFakeWorker(/*listens_early=*/false);
  ASSERT_TRUE(workers_->TakeOver().ok());
  ASSERT_EQ(heard_.size(), 1u);
  EXPECT_EQ(workers_->PidOf(kWorker), child_);
}

// Or it could have any process ended in its place.
TEST_F(WorkersTest, AWorkerThatNamesAnotherProcessIsLeftAlone) {
  StartFakeWorker(/*listens_early=*/false, static_cast<uint32_t>(getppid()));
  ASSERT_TRUE(workers_->TakeOver().ok());
  EXPECT_TRUE(heard_.empty());
  ToWorker message;
  EXPECT_FALSE(workers_->Send(kWorker, message));
}

TEST_F(WorkersTest, ASocketThatNobodyListensAtIsRemoved) {
  { const Fd listener = *Listen(SocketPath(), 0600); }
  ASSERT_TRUE(std::filesystem::exists(SocketPath()));
  ASSERT_TRUE(workers_->TakeOver().ok());
  EXPECT_FALSE(std::filesystem::exists(SocketPath()));
}

TEST_F(WorkersTest, RefusesAFolderThatOthersMayUse) {
  ASSERT_EQ(chmod(folder_.c_str(), 0755), 0);
  EXPECT_FALSE(workers_->TakeOver().ok());
}

}  // namespace
}  // namespace nvshim::broker
