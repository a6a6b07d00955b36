#include "broker/io/socket.h"

#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>

#include "gtest/gtest.h"

namespace nvshim::broker {
namespace {

class ListenTest : public ::testing::Test {
 protected:
  ListenTest() : path_("/tmp/socket_test-" + std::to_string(getpid())) {}
  ~ListenTest() override { unlink(path_.c_str()); }

  std::string path_;
};

TEST_F(ListenTest, ReplacesASocketThatNobodyListensAt) {
  { const auto dead = Listen(path_, 0600); }
  struct stat status;
  ASSERT_EQ(stat(path_.c_str(), &status), 0);
  EXPECT_TRUE(Listen(path_, 0600).ok());
}

TEST_F(ListenTest, RefusesASocketThatIsServed) {
  const auto served = Listen(path_, 0600);
  EXPECT_EQ(Listen(path_, 0600).status().code(), absl::StatusCode::kAlreadyExists);
}

// The kernel may close the sockets of a process that has ended after the process itself is gone.
TEST_F(ListenTest, ReplacesASocketWhoseListenerHasEnded) {
  const auto left = Listen(path_, 0600);
  const pid_t listener = fork();
  if (listener == 0) _exit(ListenHere(left->get()).ok() ? 0 : 1);
  int status = -1;
  ASSERT_EQ(waitpid(listener, &status, 0), listener);
  ASSERT_EQ(status, 0);
  ASSERT_TRUE(Connect(path_).ok());
  EXPECT_TRUE(Listen(path_, 0600).ok());
}

}  // namespace
}  // namespace nvshim::broker
