// Law: a reply comes out as it went in, however large it is; what is no reply is told from one.
#include "broker/supervisor/control_reply.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <string>

#include "broker/io/fd.h"
#include "broker/io/socket.h"

namespace nvshim::broker {
namespace {

class ControlReplyTest : public testing::Test {
 protected:
  ControlReplyTest() {
    int ends[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends), 0);
    broker_ = Fd(ends[0]);
    operator_ = Fd(ends[1]);
  }

  Fd broker_, operator_;
};

ControlReply WithGuests(size_t guests) {
  ControlReply reply;
  WorkerStatistics* worker = reply.mutable_statistics()->add_workers();
  for (size_t i = 0; i < guests; ++i)
    worker->add_guests()->set_name(std::string(100, 'g') + std::to_string(i));
  return reply;
}

TEST_F(ControlReplyTest, ComesOutAsItWentIn) {
  for (const size_t guests : {0, 1, 500, 600, 700, 4096, 100'000}) {
    const ControlReply sent = WithGuests(guests);
    ASSERT_TRUE(SendReply(broker_.get(), sent)) << guests;
    const auto received = ReceiveReply(operator_.get());
    ASSERT_TRUE(received.ok()) << guests;
    EXPECT_EQ(received->SerializeAsString(), sent.SerializeAsString()) << guests;
  }
}

TEST_F(ControlReplyTest, WhatIsNoReplyIsNone) {
  EXPECT_FALSE(ReceiveReply(operator_.get()).ok());  // nothing
  ASSERT_TRUE(Send(broker_.get(), std::string("\xff\xff")));
  EXPECT_FALSE(ReceiveReply(operator_.get()).ok());
  ControlReply elsewhere;  // in a memfd that is not there, and one that is larger than any
  for (const uint64_t bytes : {uint64_t{100}, uint64_t{1} << 40}) {
    elsewhere.set_memfd_bytes(bytes);
    ASSERT_TRUE(Send(broker_.get(), elsewhere.SerializeAsString()));
    EXPECT_FALSE(ReceiveReply(operator_.get()).ok());
  }
  broker_.Reset();
  EXPECT_FALSE(ReceiveReply(operator_.get()).ok());
  EXPECT_FALSE(SendReply(operator_.get(), WithGuests(4096)));
}

}  // namespace
}  // namespace nvshim::broker
