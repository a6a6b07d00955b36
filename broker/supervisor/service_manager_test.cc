#include "broker/supervisor/service_manager.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <string>

#include "gtest/gtest.h"

namespace nvshim::broker {
namespace {

constexpr int kFirstPassed = 3;  // sd_listen_fds(3)

// A socket whose number is none of those that are passed.
Fd NewSocket(int type) {
  const Fd made(socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  return Fd(fcntl(made.get(), F_DUPFD_CLOEXEC, kFirstPassed + 10));
}

// Plays systemd: the environment, and the socket at which it is told things.
class ServiceManagerTest : public ::testing::Test {
 protected:
  ServiceManagerTest() : notifications_(NewSocket(SOCK_DGRAM)) {
    sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
    socklen_t size = sizeof(sa_family_t);  // the kernel chooses the rest
    EXPECT_EQ(bind(notifications_.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
    size = sizeof(address);
    EXPECT_EQ(getsockname(notifications_.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
    // An abstract name begins with a zero byte, for which the environment has an @.
    const std::string name(address.sun_path + 1, size - sizeof(sa_family_t) - 1);
    setenv("NOTIFY_SOCKET", ("@" + name).c_str(), 1);
  }

  ~ServiceManagerTest() override {
    for (const char* variable :
         {"NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "WATCHDOG_USEC"})
      unsetenv(variable);
  }

  std::string Told() {
    char text[256];
    const ssize_t size = recv(notifications_.get(), text, sizeof(text), 0);
    return size < 0 ? "" : std::string(text, static_cast<size_t>(size));
  }

  // Passes sockets of `type`, one for each of `names`, which are separated by colons.
  static void Pass(int type, const std::string& names) {
    int count = 0;
    for (size_t at = 0; at != std::string::npos; at = names.find(':', at + 1)) {
      const Fd made = NewSocket(type);
      const sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
      ASSERT_EQ(bind(made.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(sa_family_t)), 0);
      ASSERT_EQ(listen(made.get(), 1), 0);
      ASSERT_EQ(dup2(made.get(), kFirstPassed + count), kFirstPassed + count);
      ++count;
    }
    setenv("LISTEN_PID", std::to_string(getpid()).c_str(), 1);
    setenv("LISTEN_FDS", std::to_string(count).c_str(), 1);
    setenv("LISTEN_FDNAMES", names.c_str(), 1);
  }

  Fd notifications_;
};

TEST_F(ServiceManagerTest, TellsWhatSystemdReads) {
  const auto manager = ServiceManager::FromEnvironment();
  ASSERT_TRUE(manager.ok()) << manager.status();
  manager->Ready();
  EXPECT_EQ(Told(), "READY=1");
  manager->Status("2 guests");
  EXPECT_EQ(Told(), "STATUS=2 guests");
  manager->Reloading();
  EXPECT_EQ(Told().substr(0, 27), "RELOADING=1\nMONOTONIC_USEC=");
  manager->Stopping(std::chrono::seconds(7));
  EXPECT_EQ(Told(), "STOPPING=1\nEXTEND_TIMEOUT_USEC=7000000");
  EXPECT_EQ(manager->watchdog_interval(), std::nullopt);
}

TEST_F(ServiceManagerTest, FeedsTheWatchdogTwiceAsOftenAsItMust) {
  setenv("WATCHDOG_USEC", "30000000", 1);
  const auto manager = ServiceManager::FromEnvironment();
  ASSERT_TRUE(manager.ok()) << manager.status();
  EXPECT_EQ(manager->watchdog_interval(), std::chrono::seconds(15));
  manager->FeedWatchdog();
  EXPECT_EQ(Told(), "WATCHDOG=1");
}

TEST_F(ServiceManagerTest, TakesSocketsByTheirNames) {
  Pass(SOCK_SEQPACKET, "guests:control:guest=a b");
  auto manager = ServiceManager::FromEnvironment();
  ASSERT_TRUE(manager.ok()) << manager.status();
  const auto sockets = manager->TakeSockets();
  ASSERT_TRUE(sockets.ok()) << sockets.status();
  ASSERT_EQ(sockets->guests.size(), 2u);
  EXPECT_EQ(sockets->guests[0].guest, "");
  EXPECT_EQ(sockets->guests[1].guest, "a b");
  for (const InheritedSocket& one : sockets->guests) {
    EXPECT_NE(fcntl(one.socket.get(), F_GETFD) & FD_CLOEXEC, 0);  // no worker's
  }
  EXPECT_EQ(sockets->control.get(), kFirstPassed + 1);  // where no guest comes
  EXPECT_EQ(getenv("LISTEN_FDS"), nullptr);
}

TEST_F(ServiceManagerTest, FilesThatSystemdHoldsAreNoSockets) {
  Pass(SOCK_SEQPACKET, "guests:warm-gpu");
  auto manager = ServiceManager::FromEnvironment();
  ASSERT_TRUE(manager.ok()) << manager.status();
  EXPECT_EQ(manager->TakeSockets()->guests.size(), 1u);
  const int fds[] = {STDERR_FILENO};
  manager->Keep(fds);
  EXPECT_EQ(Told(), "FDSTOREREMOVE=1\nFDNAME=warm-gpu");
  EXPECT_EQ(Told(), "FDSTORE=1\nFDPOLL=0\nFDNAME=warm-gpu");
}

TEST_F(ServiceManagerTest, RefusesSocketsOfAnotherKind) {
  Pass(SOCK_STREAM, "guests");
  auto manager = ServiceManager::FromEnvironment();
  ASSERT_TRUE(manager.ok()) << manager.status();
  const auto sockets = manager->TakeSockets();
  ASSERT_FALSE(sockets.ok());
  EXPECT_NE(sockets.status().message().find("ListenSequentialPacket"), std::string::npos);
}

TEST_F(ServiceManagerTest, SaysNothingWhenNobodyAsked) {
  unsetenv("NOTIFY_SOCKET");
  auto manager = ServiceManager::FromEnvironment();
  ASSERT_TRUE(manager.ok()) << manager.status();
  manager->Ready();
  EXPECT_EQ(Told(), "");
  EXPECT_TRUE(manager->TakeSockets()->guests.empty());
}

}  // namespace
}  // namespace nvshim::broker
