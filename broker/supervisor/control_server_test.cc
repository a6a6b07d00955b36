#include "broker/supervisor/control_server.h"

#include <poll.h>
#include <stdlib.h>

#include <filesystem>
#include <memory>
#include <vector>

#include "broker/io/socket.h"
#include "broker/supervisor/control_reply.h"
#include "gtest/gtest.h"

namespace nvshim::broker {
namespace {

class ControlServerTest : public ::testing::Test {
 protected:
  ControlServerTest() : folder_("/tmp/control_server_test-XXXXXX"), loop_(*Loop::Create()) {
    EXPECT_NE(mkdtemp(folder_.data()), nullptr);
    server_ = std::make_unique<ControlServer>(
        loop_.get(), /*listener_tag=*/1, /*client_tag=*/2,
        [this](uint32_t client, const ControlRequest&) { asked_.push_back(client); });
    EXPECT_TRUE(server_->Bind(Path()).ok());
    server_->Start();
  }
  ~ControlServerTest() override { std::filesystem::remove_all(folder_); }

  std::string Path() const { return folder_ + "/socket"; }

  void Turn() {
    loop_->Submit(true);
    Completion completion;
    while (loop_->Next(&completion)) server_->Complete(completion);
  }

  Fd Client() {
    Fd client = *Connect(Path());
    Turn();
    return client;
  }

  void Ask(const Fd& client) {
    ControlRequest request;
    request.mutable_info();
    EXPECT_TRUE(Send(client.get(), request.SerializeAsString()));
    Turn();
  }

  // kPeerGone: the server has hung up; kNothingWaits: it has not.
  static ssize_t Hear(const Fd& client) {
    std::vector<char> bytes(1 << 20);
    return Receive(client.get(), bytes);
  }

  std::string folder_;
  std::unique_ptr<Loop> loop_;
  std::vector<uint32_t> asked_;
  std::unique_ptr<ControlServer> server_;
};

TEST_F(ControlServerTest, AnswersWhoAsks) {
  const Fd client = Client();
  Ask(client);
  ASSERT_EQ(asked_.size(), 1u);
  ControlReply reply;
  reply.set_done("done");
  server_->Answer(asked_[0], reply);
  EXPECT_GT(Hear(client), 0);
}

TEST_F(ControlServerTest, WhoAsksAgainBeforeTheAnswerIsDropped) {
  const Fd client = Client();
  Ask(client);
  Ask(client);
  EXPECT_EQ(asked_.size(), 1u);
  EXPECT_EQ(Hear(client), kPeerGone);
}

TEST_F(ControlServerTest, ARequestThatIsTooLongOrNoneIsNotRead) {
  const Fd longer = Client(), garbled = Client();
  ASSERT_TRUE(Send(longer.get(), std::string(ControlServer::kRequestSizeBytesMax + 1, 'a')));
  Turn();
  ASSERT_TRUE(Send(garbled.get(), "\377\377\377"));
  Turn();
  EXPECT_TRUE(asked_.empty());
  EXPECT_EQ(Hear(longer), kPeerGone);
  EXPECT_EQ(Hear(garbled), kPeerGone);
}

// Or sixteen connections that say nothing would lock all operators out.
TEST_F(ControlServerTest, WhoIsSilentMakesRoom) {
  std::vector<Fd> silent;
  for (size_t i = 0; i < ControlServer::kClientsMax; ++i) silent.push_back(Client());
  const Fd late = Client();
  EXPECT_EQ(Hear(silent[0]), kPeerGone);
  EXPECT_EQ(Hear(silent[1]), kNothingWaits);
  Ask(late);
  EXPECT_EQ(asked_.size(), 1u);
}

TEST_F(ControlServerTest, WhoWaitsForAnAnswerKeepsItsPlace) {
  std::vector<Fd> waiting;
  for (size_t i = 0; i < ControlServer::kClientsMax; ++i) {
    waiting.push_back(Client());
    Ask(waiting.back());
  }
  EXPECT_EQ(Hear(Client()), kPeerGone);
  EXPECT_EQ(Hear(waiting[0]), kNothingWaits);
}

TEST_F(ControlServerTest, AClientThatDoesNotReadIsDroppedInTheEnd) {
  const Fd client = Client();
  ControlReply reply;
  reply.set_done(std::string(100'000, 'a'));
  Ask(client);
  const uint32_t index = asked_[0];
  ASSERT_EQ(asked_.size(), 1u);
  // Each call returns at once, however little of it the client takes.
  for (int i = 0; i < 1000; ++i) server_->Answer(index, reply);
  Turn();  // in which the kernel lets go of its socket
  ssize_t heard;
  while ((heard = Hear(client)) > 0) {
  }
  EXPECT_EQ(heard, kPeerGone);
}

TEST_F(ControlServerTest, ALargeAnswerGetsThrough) {
  const Fd client = Client();
  Ask(client);
  ControlReply reply;
  reply.set_done(std::string(8 << 20, 'a'));
  server_->Answer(asked_[0], reply);
  const auto heard = ReceiveReply(client.get());
  ASSERT_TRUE(heard.ok());
  EXPECT_EQ(heard->done().size(), reply.done().size());
}

TEST_F(ControlServerTest, LeavesNoSocketBehind) {
  server_.reset();
  EXPECT_TRUE(std::filesystem::is_empty(folder_));
}

}  // namespace
}  // namespace nvshim::broker
