// Law: nothing said on the channel hurts the broker: short, long, wrong and repeated Hellos, descriptors
// nobody asked for, connections that say nothing, files by the thousand.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <string>
#include <vector>

#include "testing/guest/raw_guest.h"
#include "testing/guest/worker_harness.h"

namespace nvshim::testing {
namespace {

constexpr uint32_t kGuest = 1;

// What takes longer than this does not come.
constexpr int kPatienceMs = 20'000;

// What the broker answers to `bytes` as the first datagram; nothing when it just hangs up.
std::optional<ChannelMessage> AnswerTo(WorkerHarness& worker, const std::string& bytes) {
  const int channel = worker.NewConnection(kGuest);
  if (send(channel, bytes.data(), bytes.size(), MSG_NOSIGNAL) < 0) {
    close(channel);
    return std::nullopt;
  }
  char answer[65536];
  const ssize_t received = recv(channel, answer, sizeof(answer), 0);
  close(channel);
  ChannelMessage message;
  if (received <= 0 || !message.ParseFromArray(answer, static_cast<int>(received))) return std::nullopt;
  return message;
}

std::string HelloOfVersion(uint32_t version) {
  ChannelMessage message;
  message.mutable_hello()->set_protocol_version(version);
  return message.SerializeAsString();
}

bool IsServed(WorkerHarness& worker) {
  auto guest = worker.NewProcess(kGuest);
  if (guest == nullptr) return false;
  const auto file = guest->Open(DEVICE_CLASS_CTL);
  if (!file || file->error != 0) return false;
  const auto client = AllocClient(*guest, file->file_id);
  close(file->fd);
  return client && client->status == 0;
}

TEST(HandshakeTest, AVersionThatIsNotSpokenIsRefusedWithWhatIs) {
  WorkerHarness worker;
  for (uint32_t version : {0u, wire::kProtocolVersion + 1, 0xffffffffu}) {
    const auto answer = AnswerTo(worker, HelloOfVersion(version));
    ASSERT_TRUE(answer && answer->has_refused());
    EXPECT_EQ(answer->refused().error(), EPROTO);
    EXPECT_EQ(answer->refused().protocol_version_min(), wire::kProtocolVersion);
    EXPECT_NE(answer->refused().reason(), "");
  }
}

TEST(HandshakeTest, NonsenseIsHungUpOn) {
  WorkerHarness worker;
  for (const std::string& bytes : {std::string("\xff"), std::string(1, '\0'), std::string(200, '\xff'),
                                   std::string(100'000, 'x'), HelloOfVersion(1) + std::string(300, '\0')})
    EXPECT_FALSE(AnswerTo(worker, bytes).has_value());
  EXPECT_TRUE(IsServed(worker));
}

TEST(HandshakeTest, ASecondHelloEndsTheConnection) {
  WorkerHarness worker;
  auto guest = worker.NewProcess(kGuest);
  ASSERT_NE(guest, nullptr);
  const std::string again = HelloOfVersion(1);
  ASSERT_GT(send(guest->channel(), again.data(), again.size(), MSG_NOSIGNAL), 0);
  pollfd entry{guest->channel(), POLLRDHUP, 0};
  EXPECT_EQ(poll(&entry, 1, kPatienceMs), 1);
  EXPECT_TRUE(IsServed(worker));
}

TEST(HandshakeTest, DescriptorsThatAGuestSendsAreDropped) {
  WorkerHarness worker;
  std::vector<int> files;
  for (int i = 0; i < 200; ++i) files.push_back(open("/dev/null", O_RDONLY | O_CLOEXEC));
  const int channel = worker.NewConnection(kGuest);
  const std::string hello = HelloOfVersion(wire::kProtocolVersion);
  iovec part{const_cast<char*>(hello.data()), hello.size()};
  std::vector<char> control(CMSG_SPACE(files.size() * sizeof(int)));
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(files.size() * sizeof(int));
  std::memcpy(CMSG_DATA(header), files.data(), files.size() * sizeof(int));
  ASSERT_GT(sendmsg(channel, &message, MSG_NOSIGNAL), 0);
  // The next free number tells how many descriptors this process (test and worker) has: as many as before.
  worker.Statistics();
  const int probe = open("/dev/null", O_RDONLY | O_CLOEXEC);
  EXPECT_LT(probe, files.back() + 16) << "descriptors were received";
  close(probe);
  close(channel);
  for (int fd : files) close(fd);
  EXPECT_TRUE(IsServed(worker));
}

TEST(HandshakeTest, FilesAreBoundedAndGivenBack) {
  WorkerHarness worker;
  auto guest = worker.NewProcess(kGuest);
  ASSERT_NE(guest, nullptr);
  std::vector<int> placeholders;
  int error = 0;
  while (error == 0 && placeholders.size() < 100'000) {
    const auto file = guest->Open(DEVICE_CLASS_CTL);
    ASSERT_TRUE(file);
    error = file->error;
    if (error == 0) placeholders.push_back(file->fd);
  }
  EXPECT_TRUE(error == EMFILE || error == ENOMEM) << error;
  EXPECT_LE(placeholders.size(), 4096u);
  for (int fd : placeholders) close(fd);
  guest.reset();
  worker.AwaitEmpty();
  EXPECT_TRUE(IsServed(worker));
}

TEST(HandshakeTest, ConnectionsThatSayNothingAreBoundedPerGuest) {
  WorkerHarness worker;
  std::vector<int> silent;
  for (int i = 0; i < 300; ++i) silent.push_back(worker.NewConnection(kGuest));
  EXPECT_TRUE(IsServed(worker));
  for (int fd : silent) close(fd);
  EXPECT_TRUE(IsServed(worker));
}

TEST(HandshakeTest, AGuestThatDiesGivesEverythingBack) {
  WorkerHarness worker;
  auto guest = worker.NewProcess(kGuest);
  const auto file = guest->Open(DEVICE_CLASS_CTL);
  ASSERT_TRUE(file && file->error == 0);
  const auto client = AllocClient(*guest, file->file_id);
  ASSERT_TRUE(client && client->status == 0);
  ASSERT_EQ(AllocObject(*guest, file->file_id, client->handle, client->handle, 0x5c000001, 0x80,
                        std::vector<uint8_t>(56))
                ->status,
            0u);
  guest.reset();
  close(file->fd);
  worker.AwaitEmpty();
}

}  // namespace
}  // namespace nvshim::testing
