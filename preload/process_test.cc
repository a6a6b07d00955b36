#include "preload/process.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "proto/frame.pb.h"

namespace nvshim::preload {
namespace {

// A region as a broker makes it.
int MakeRegion(const std::function<void(wire::RegionHeader*)>& change = {}) {
  const int memfd = memfd_create("region", MFD_CLOEXEC);
  EXPECT_EQ(ftruncate(memfd, wire::kRegionSizeBytes), 0);
  void* region = mmap(nullptr, wire::kRegionSizeBytes, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
  wire::RegionHeader* header = wire::HeaderOf(region);
  header->magic = wire::kRegionMagic;
  header->layout_version = wire::kRegionLayoutVersion;
  header->region_size_bytes = wire::kRegionSizeBytes;
  header->lane_count = wire::kLaneCount;
  header->lane_stride_bytes = wire::kLaneStrideBytes;
  header->lanes_offset = wire::kLanesOffset;
  header->ring_size_bytes = wire::kRingSizeBytes;
  header->pool_offset = wire::kPoolOffset;
  header->pool_size_bytes = wire::kPoolSizeBytes;
  if (change) change(header);
  munmap(region, wire::kRegionSizeBytes);
  return memfd;
}

struct Reply {
  std::string datagram;
  int memfd = -1;
};

Reply Admission(const std::string& driver_version = "535.261.03", int memfd = MakeRegion()) {
  ChannelMessage message;
  auto* welcome = message.mutable_welcome();
  welcome->set_process_id(3);
  welcome->set_driver_version(driver_version);
  welcome->add_gpus()->set_minor(0);
  welcome->add_gpus()->set_minor(5);
  welcome->set_region_size_bytes(wire::kRegionSizeBytes);
  welcome->set_guest_instance(42);
  return {message.SerializeAsString(), memfd};
}

void Send(int socket, const Reply& reply) {
  const int fds[] = {reply.memfd, eventfd(0, EFD_CLOEXEC)};
  std::string bytes = reply.datagram;
  iovec buffer = {bytes.data(), bytes.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(fds))] = {};
  msghdr header = {};
  header.msg_iov = &buffer;
  header.msg_iovlen = 1;
  if (reply.memfd >= 0) {
    header.msg_control = control;
    header.msg_controllen = sizeof(control);
    cmsghdr* rights = CMSG_FIRSTHDR(&header);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof(fds));
    std::memcpy(CMSG_DATA(rights), fds, sizeof(fds));
  }
  EXPECT_EQ(sendmsg(socket, &header, MSG_NOSIGNAL), static_cast<ssize_t>(bytes.size()));
  for (const int fd : fds) close(fd);
}

// Listens on a socket of its own and answers every Hello with what the test says.
class FakeBroker {
 public:
  explicit FakeBroker(std::function<Reply()> reply) : reply_(std::move(reply)) {
    char folder[] =
        "/tmp/nvshim-process-test-XXXXXX";  // Bazel's own folder is longer than a socket's path may be
    EXPECT_NE(mkdtemp(folder), nullptr);
    folder_ = folder;
    path_ = folder_ + "/socket";
    listener_ = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path_.data(), path_.size());
    EXPECT_EQ(bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    EXPECT_EQ(listen(listener_, 16), 0);
    setenv("NVSHIM_SOCKET", path_.c_str(), 1);
    thread_ = std::thread([this] { Run(); });
  }
  ~FakeBroker() {
    shutdown(listener_, SHUT_RDWR);  // accept fails
    thread_.join();
    close(listener_);
    HangUp();
    unlink(path_.c_str());
    rmdir(folder_.c_str());
  }

  int hellos() const { return hellos_; }
  // As a dead worker: all connections close.
  void HangUp() {
    const std::lock_guard guard(mutex_);
    for (const int channel : channels_) close(channel);
    channels_.clear();
  }

 private:
  void Run() {
    int channel;
    while ((channel = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC)) >= 0) {
      char bytes[256];
      const ssize_t size = recv(channel, bytes, sizeof(bytes), 0);
      ChannelMessage message;
      EXPECT_TRUE(size > 0 && message.ParseFromArray(bytes, static_cast<int>(size)) && message.has_hello());
      ++hellos_;
      const Reply reply = reply_();
      const std::lock_guard guard(mutex_);
      channels_.push_back(channel);  // before the guest can know, and so ask for a hang-up
      if (!reply.datagram.empty())
        Send(channel, reply);
      else
        shutdown(channel, SHUT_RDWR);
    }
  }

  const std::function<Reply()> reply_;
  std::string folder_, path_;
  int listener_;
  std::atomic<int> hellos_{0};
  std::mutex mutex_;
  std::vector<int> channels_;
  std::thread thread_;
};

// The library's constructor, for a program that has the library linked in.
const bool g_initialised = (InitProcess(), true);

class ProcessTest : public testing::Test {
 protected:
  void SetUp() override {
#ifdef __SANITIZE_THREAD__
    GTEST_SKIP() << "ThreadSanitizer does not follow threads of forked children";
#endif
  }
};

// Runs `law` in a forked child, whose session is its own; true when it held.
bool HoldsInChild(const std::function<bool()>& law) {
  const pid_t pid = fork();
  if (pid == 0) _exit(law() ? 0 : 1);
  int status = 0;
  waitpid(pid, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

int ErrorOfAttach() {
  int error = 0;
  return Attach(&error) == nullptr ? error : 0;
}

TEST_F(ProcessTest, WithoutABrokerThereIsNoDevice) {
  setenv("NVSHIM_SOCKET", "/nonexistent/socket", 1);
  EXPECT_TRUE(HoldsInChild([] { return ErrorOfAttach() == ENOENT && CurrentSession() == nullptr; }));
  setenv("NVSHIM_SOCKET", std::string(500, 'x').c_str(), 1);
  EXPECT_TRUE(HoldsInChild([] { return ErrorOfAttach() == ENOENT; }));
}

TEST_F(ProcessTest, WhatIsNotAWelcomeIsNoDevice) {
  ChannelMessage refusal;
  refusal.mutable_refused()->set_error(EPROTO);
  refusal.mutable_refused()->set_reason("no");
  const std::vector<std::function<Reply()>> replies = {
      [&] {
        return Reply{refusal.SerializeAsString(), -1};
      },
      [] {
        return Reply{"\xff\xff\xff", -1};
      },
      [] {
        return Reply{Admission().datagram, -1};
      },
      [] { return Admission("999.99.99"); },
      [] { return Admission("535.261.03", memfd_create("empty", MFD_CLOEXEC)); },
      [] {
        return Admission("535.261.03", MakeRegion([](wire::RegionHeader* header) { header->magic = 0; }));
      },
      [] {
        return Admission("535.261.03",
                         MakeRegion([](wire::RegionHeader* header) { header->lane_count = 1; }));
      },
  };
  for (size_t i = 0; i < replies.size(); ++i) {
    FakeBroker broker(replies[i]);
    EXPECT_TRUE(HoldsInChild([] { return ErrorOfAttach() == ENODEV && CurrentSession() == nullptr; })) << i;
    EXPECT_EQ(broker.hellos(), 1) << i;
  }
}

// As a supervisor that dies drops whom it was just letting in.
TEST_F(ProcessTest, WhoIsDroppedWithoutAWordAsksAgainAndNotForEver) {
  FakeBroker broker([] { return Reply{}; });
  EXPECT_TRUE(HoldsInChild([] { return ErrorOfAttach() == ENODEV && CurrentSession() == nullptr; }));
  EXPECT_EQ(broker.hellos(), 3);
}

int OpenDescriptors() {
  int count = 0;
  for (int fd = 0; fd < 4096; ++fd) count += fcntl(fd, F_GETFD) >= 0;
  return count;
}

TEST_F(ProcessTest, AFailedAttemptLeavesNoDescriptorBehind) {
  FakeBroker broker([] { return Admission("999.99.99"); });
  EXPECT_TRUE(HoldsInChild([] {
    const int before = OpenDescriptors();
    for (int i = 0; i < 5; ++i)
      if (ErrorOfAttach() != ENODEV) return false;
    return OpenDescriptors() == before;
  }));
}

TEST_F(ProcessTest, OneSessionServesTheWholeProcess) {
  FakeBroker broker([] { return Admission(); });
  EXPECT_TRUE(HoldsInChild([] {
    int error = 0;
    Session* const session = Attach(&error);
    if (session == nullptr || session->welcome.process_id != 3 || session->table == nullptr) return false;
    if (!session->HasGpu(0) || !session->HasGpu(5) || session->HasGpu(1)) return false;
    std::atomic<int> same{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < 8; ++i)
      threads.emplace_back([&] {
        int thread_error;
        same += Attach(&thread_error) == session;
      });
    for (std::thread& thread : threads) thread.join();
    return same == 8 && CurrentSession() == session;
  }));
  EXPECT_EQ(broker.hellos(), 1);
}

TEST_F(ProcessTest, ThreadsThatNeedADeviceAtTheSameTimeConnectOnce) {
  FakeBroker broker([] { return Admission(); });
  EXPECT_TRUE(HoldsInChild([] {
    std::atomic<int> attached{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < 16; ++i) threads.emplace_back([&] { attached += ErrorOfAttach() == 0; });
    for (std::thread& thread : threads) thread.join();
    return attached == 16;
  }));
  EXPECT_EQ(broker.hellos(), 1);
}

TEST_F(ProcessTest, OurDescriptorsAreParkedHighAndMarkedPrivate) {
  FakeBroker broker([] { return Admission(); });
  EXPECT_TRUE(HoldsInChild([] {
    int error = 0;
    const Session* session = Attach(&error);
    const int channel = session->channel.channel_fd(), doorbell = session->channel.doorbell_fd();
    return channel >= 200 && doorbell >= 200 && fd_table().Byte(channel) == FdTable::kPrivate &&
           fd_table().Byte(doorbell) == FdTable::kPrivate && (fcntl(channel, F_GETFD) & FD_CLOEXEC) != 0 &&
           (fcntl(doorbell, F_GETFD) & FD_CLOEXEC) != 0;
  }));
}

TEST_F(ProcessTest, ASessionWhoseDescriptorsWereClosedIsReplaced) {
  FakeBroker broker([] { return Admission(); });
  EXPECT_TRUE(HoldsInChild([] {
    int error = 0;
    Session* const first = Attach(&error);
    close_range(3, ~0u, 0);
    Session* const second = Attach(&error);
    return first != nullptr && second != nullptr && first != second && first->channel.lost();
  }));
  EXPECT_EQ(broker.hellos(), 2);
}

TEST_F(ProcessTest, AnotherWorkerIsAnotherSession) {
  FakeBroker broker([] { return Admission(); });
  int error = 0;
  Session* const first = Attach(&error);
  ASSERT_NE(first, nullptr);
  broker.HangUp();
  Session* const second = Attach(&error);
  ASSERT_NE(second, nullptr);
  EXPECT_NE(first, second);
  EXPECT_TRUE(first->channel.lost());
  EXPECT_FALSE(second->channel.lost());
}

TEST_F(ProcessTest, AForkedChildStartsPristineAndHarmsNothing) {
  FakeBroker broker([] { return Admission(); });
  int error = 0;
  Session* const session = Attach(&error);
  ASSERT_NE(session, nullptr);
  fd_table().Set(4, {1, 2, 3});
  const int channel = session->channel.channel_fd();
  EXPECT_TRUE(HoldsInChild([&] {
    if (CurrentSession() != nullptr || !OwnsState() || fd_table().Byte(4) != FdTable::kUnknown) return false;
    return fcntl(channel, F_GETFD) < 0 && ErrorOfAttach() == 0;
  }));
  EXPECT_EQ(CurrentSession(), session);
  EXPECT_EQ(Attach(&error), session);
  EXPECT_EQ(fd_table().Byte(4), 1);
  fd_table().Clear(4);
}

TEST_F(ProcessTest, AForkThatNoHandlerHearsOfIsNoticed) {
  FakeBroker broker([] { return Admission(); });
  int error = 0;
  Session* const session = Attach(&error);
  ASSERT_NE(session, nullptr);
  const pid_t pid = static_cast<pid_t>(Syscall(SYS_fork));
  if (pid == 0) {
    const bool held = OwnsState() && CurrentSession() == nullptr && ErrorOfAttach() == 0;
    Syscall(SYS_exit_group, held ? 0 : 1);
  }
  int status = 0;
  waitpid(pid, &status, 0);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  EXPECT_EQ(Attach(&error), session);
}

TEST_F(ProcessTest, AVforkChildOwnsNothing) {
  FakeBroker broker([] { return Admission(); });
  int error = 0;
  Session* const session = Attach(&error);
  ASSERT_NE(session, nullptr);
  volatile bool owned = true;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
  const pid_t pid = vfork();
#pragma GCC diagnostic pop
  if (pid == 0) {
    owned = OwnsState();
    _exit(0);
  }
  int status = 0;
  waitpid(pid, &status, 0);
  EXPECT_FALSE(owned);
  EXPECT_TRUE(OwnsState());
  EXPECT_EQ(CurrentSession(), session);
}

}  // namespace
}  // namespace nvshim::preload
