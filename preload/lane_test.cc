#include "preload/lane.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <memory>
#include <numeric>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "proto/frame.pb.h"

namespace nvshim::preload {
namespace {

using Frame = std::vector<uint8_t>;  // header, body, payload

// The other side of a region, in a thread of its own: takes frames as a worker does and lets the test answer
// them.
class FakeWorker {
 public:
  // What to put into the response ring for a frame; empty = no answer.
  using Answer = std::function<Frame(uint32_t lane, const Frame& request)>;

  explicit FakeWorker(Answer answer) : answer_(std::move(answer)) {
    region_ =
        mmap(nullptr, wire::kRegionSizeBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, channel_), 0);
    doorbell_ = eventfd(0, EFD_CLOEXEC);
    for (uint32_t i = 0; i < wire::kLaneCount; ++i) {
      wire::LaneHeader* header = wire::LaneOf(region_, i);
      requests_[i] = wire::RingConsumer(wire::RequestRingOf(region_, i), wire::kRingSizeBytes,
                                        &header->request_head, &header->request_tail);
      responses_[i] = wire::RingProducer(wire::ResponseRingOf(region_, i), wire::kRingSizeBytes,
                                         &header->response_tail, &header->response_head);
    }
    thread_ = std::thread([this] { Run(); });
  }
  ~FakeWorker() {
    Stop();
    close(channel_[1]);
    munmap(region_, wire::kRegionSizeBytes);
  }

  // Ends as a killed worker does: its end of the channel closes, calls stay unanswered.
  void Stop() {
    if (!thread_.joinable()) return;
    stopping_ = true;
    const uint64_t one = 1;
    EXPECT_EQ(write(doorbell_, &one, sizeof(one)), static_cast<ssize_t>(sizeof(one)));
    thread_.join();
    close(channel_[0]);
  }

  void* region() const { return region_; }
  int channel_of_guest() const { return channel_[1]; }
  int channel_of_worker() const { return channel_[0]; }
  int doorbell() const { return doorbell_; }

 private:
  void Run() {
    wire::RegionHeader* header = wire::HeaderOf(region_);
    for (uint32_t sleep = wire::kFirstSleep; !stopping_; ++sleep) {
      header->worker_waiting.store(sleep);
      if (header->lanes_pending.load() == 0) {
        pollfd bell = {doorbell_, POLLIN, 0};
        uint64_t count;
        poll(&bell, 1, -1);
        EXPECT_EQ(read(doorbell_, &count, sizeof(count)), static_cast<ssize_t>(sizeof(count)));
      }
      header->worker_waiting.store(0);
      uint64_t lanes = header->lanes_pending.exchange(0);
      for (uint32_t lane = 0; lanes != 0; ++lane, lanes >>= 1)
        if ((lanes & 1) != 0) Serve(lane);
    }
  }

  void Serve(uint32_t lane) {
    const uint32_t available = requests_[lane].Available();
    if (available == 0) return;
    Frame request(available);
    requests_[lane].Read(request.data(), available);
    requests_[lane].Finish();
    const Frame response = answer_(lane, request);
    if (response.empty()) return;
    EXPECT_TRUE(responses_[lane].Begin(static_cast<uint32_t>(response.size())));
    responses_[lane].Write(response.data(), static_cast<uint32_t>(response.size()));
    responses_[lane].Publish();
    wire::LaneHeader* header = wire::LaneOf(region_, lane);
    if (header->guest_waiting.exchange(0) == 1) FutexWake(&header->response_tail, 1, 0);
  }

  const Answer answer_;
  void* region_;
  int channel_[2];
  int doorbell_;
  std::atomic<bool> stopping_{false};
  wire::RingConsumer requests_[wire::kLaneCount];
  wire::RingProducer responses_[wire::kLaneCount];
  std::thread thread_;
};

wire::FrameHeader HeaderOfFrame(const Frame& frame) {
  wire::FrameHeader header;
  std::memcpy(&header, frame.data(), sizeof(header));
  return header;
}

void SetHeader(Frame* frame, const wire::FrameHeader& header) {
  std::memcpy(frame->data(), &header, sizeof(header));
}

// The request as its own answer.
Frame Echo(uint32_t, const Frame& request) {
  Frame response = request;
  wire::FrameHeader header = HeaderOfFrame(response);
  header.kind = wire::kFrameKindIoctlReply;
  SetHeader(&response, header);
  return response;
}

class Guest {
 public:
  explicit Guest(FakeWorker::Answer answer, bool may_spin = false) : worker(std::move(answer)) {
    channel.Open(worker.channel_of_guest(), worker.doorbell());
    lanes.Open(worker.region(), &channel, may_spin);
  }

  // One call with `payload`; true when the answer equals the question.
  bool Call(const std::vector<uint8_t>& payload, std::span<const uint8_t> body) {
    LaneCall call(lanes);
    if (!call.Begin(wire::kFrameKindIoctl, 7, body, wire::AlignUp8(static_cast<uint32_t>(payload.size()))))
      return false;
    call.Write(payload.data(), static_cast<uint32_t>(payload.size()));
    uint8_t reply[wire::kBodySizeBytesMax];
    size_t reply_size = 0;
    if (!call.Exchange(wire::kFrameKindIoctlReply, reply, &reply_size)) return false;
    std::vector<uint8_t> echoed(payload.size());
    return reply_size == body.size() && std::equal(body.begin(), body.end(), reply) &&
           call.Read(echoed.data(), static_cast<uint32_t>(echoed.size())) && echoed == payload;
  }

  FakeWorker worker;
  Channel channel;
  LaneSet lanes;
};

std::vector<uint8_t> Payload(size_t size, uint8_t first) {
  std::vector<uint8_t> bytes(size);
  std::iota(bytes.begin(), bytes.end(), first);
  return bytes;
}

TEST(LaneTest, EveryAnswerBelongsToItsQuestion) {
  for (const bool may_spin : {false, true}) {
    const auto guest = std::make_unique<Guest>(Echo, may_spin);
    for (uint32_t i = 0; i < 3000; ++i) {
      const auto body = Payload(i % 61, static_cast<uint8_t>(i));
      // Odd sizes, so that frames wrap around the ring's end at every place.
      ASSERT_TRUE(guest->Call(Payload(i * 37 % 9000, static_cast<uint8_t>(i)), body)) << i;
    }
  }
}

TEST(LaneTest, MoreThreadsThanLanesAllGetTheirAnswers) {
  const auto guest = std::make_unique<Guest>(Echo);
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int id = 0; id < 100; ++id) {
    threads.emplace_back([&, id] {
      for (int i = 0; i < 30; ++i) {
        const uint8_t body[] = {static_cast<uint8_t>(id), static_cast<uint8_t>(i)};
        if (!guest->Call(Payload(static_cast<size_t>(id) * 7, static_cast<uint8_t>(id)), body)) ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

TEST(LaneTest, AnUnreadAnswerDoesNotDisturbTheNextCall) {
  const auto guest = std::make_unique<Guest>(Echo);
  for (int i = 0; i < 100; ++i) {
    {
      LaneCall call(guest->lanes);
      const auto payload = Payload(5000, 1);
      ASSERT_TRUE(call.Begin(wire::kFrameKindIoctl, 7, {}, 5000));
      call.Write(payload.data(), 5000);
      uint8_t reply[wire::kBodySizeBytesMax];
      size_t reply_size;
      ASSERT_TRUE(call.Exchange(wire::kFrameKindIoctlReply, reply, &reply_size));
      EXPECT_FALSE(call.Skip(5001));
    }
    ASSERT_TRUE(guest->Call(Payload(100, 9), Payload(10, 3)));
  }
}

TEST(LaneTest, CallsOfADeadWorkerFailPromptlyAndForGood) {
  const auto guest = std::make_unique<Guest>([](uint32_t, const Frame&) { return Frame(); });
  std::vector<std::thread> callers;
  std::atomic<int> answered{0};
  for (int i = 0; i < 80; ++i)  // some of them wait for a lane
    callers.emplace_back([&] { answered += guest->Call(Payload(8, 1), Payload(8, 2)); });
  guest->worker.Stop();
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(answered, 0);
  EXPECT_TRUE(guest->channel.lost());
  EXPECT_FALSE(guest->Call(Payload(8, 1), Payload(8, 2)));
}

// Each way in which an answer can be nonsense ends the session; none of them is waited for or read out of
// bounds.
TEST(LaneTest, NonsenseFromTheWorkerEndsTheSession) {
  const std::vector<std::function<void(Frame*, wire::FrameHeader*)>> corruptions = {
      [](Frame*, wire::FrameHeader* header) { header->magic ^= 1; },
      [](Frame*, wire::FrameHeader* header) { header->kind = wire::kFrameKindOpenReply; },
      [](Frame*, wire::FrameHeader* header) { header->sequence += 1; },
      [](Frame*, wire::FrameHeader* header) { header->body_size_bytes = 0xffff; },
      [](Frame*, wire::FrameHeader* header) { header->body_size_bytes += 8; },
      [](Frame*, wire::FrameHeader* header) { header->payload_size_bytes = 0xfffffff8; },
      [](Frame*, wire::FrameHeader* header) { header->payload_size_bytes += 8; },
      [](Frame* frame, wire::FrameHeader*) { frame->resize(16); },
      [](Frame* frame, wire::FrameHeader*) { frame->resize(frame->size() + 8); },
  };
  for (size_t i = 0; i < corruptions.size(); ++i) {
    const auto guest = std::make_unique<Guest>([&](uint32_t lane, const Frame& request) {
      Frame response = Echo(lane, request);
      wire::FrameHeader header = HeaderOfFrame(response);
      corruptions[i](&response, &header);
      std::memcpy(response.data(), &header, std::min(response.size(), sizeof(header)));
      return response;
    });
    EXPECT_FALSE(guest->Call(Payload(64, 1), Payload(16, 2))) << "corruption " << i;
    EXPECT_TRUE(guest->channel.lost()) << "corruption " << i;
  }
}

TEST(LaneTest, ACursorBeyondTheRingEndsTheSession) {
  Guest* self = nullptr;
  const auto guest = std::make_unique<Guest>([&](uint32_t lane, const Frame&) {
    wire::LaneHeader* header = wire::LaneOf(self->worker.region(), lane);
    header->response_tail.store(header->response_tail.load() + wire::kRingSizeBytes + 8);
    FutexWake(&header->response_tail, 1, 0);
    return Frame();
  });
  self = guest.get();
  EXPECT_FALSE(guest->Call(Payload(64, 1), Payload(16, 2)));
  EXPECT_TRUE(guest->channel.lost());
}

// ---- Descriptors on the channel ----

void SendFd(int channel, uint32_t lane, uint32_t sequence, int fd) {
  ChannelMessage message;
  message.mutable_fd_delivery()->set_lane(lane);
  message.mutable_fd_delivery()->set_sequence(sequence);
  std::string bytes = message.SerializeAsString();
  iovec buffer = {bytes.data(), bytes.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr header = {};
  header.msg_iov = &buffer;
  header.msg_iovlen = 1;
  header.msg_control = control;
  header.msg_controllen = sizeof(control);
  cmsghdr* rights = CMSG_FIRSTHDR(&header);
  rights->cmsg_level = SOL_SOCKET;
  rights->cmsg_type = SCM_RIGHTS;
  rights->cmsg_len = CMSG_LEN(sizeof(int));
  std::memcpy(CMSG_DATA(rights), &fd, sizeof(int));
  ASSERT_EQ(sendmsg(channel, &header, 0), static_cast<ssize_t>(bytes.size()));
}

class ChannelTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends_), 0);
    doorbell_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    channel_.Open(ends_[1], doorbell_);
  }
  void TearDown() override {
    for (const int fd : {ends_[0], ends_[1], doorbell_}) close(fd);
  }

  int ends_[2];
  int doorbell_;
  Channel channel_;
};

TEST_F(ChannelTest, EveryDescriptorReachesItsCallInWhateverOrderTheyAreTaken) {
  int files[8];
  for (uint32_t lane = 0; lane < 8; ++lane) {
    files[lane] = eventfd(lane, EFD_CLOEXEC);  // its counter, written before, tells which file it is
    const uint64_t number = lane + 1;
    ASSERT_EQ(write(files[lane], &number, sizeof(number)), static_cast<ssize_t>(sizeof(number)));
    SendFd(ends_[0], lane, 100 + lane, files[lane]);
    close(files[lane]);
  }
  for (const uint32_t lane : {5u, 0u, 7u, 1u, 6u, 2u, 4u, 3u}) {
    const int fd = channel_.TakeFd(lane, 100 + lane);
    ASSERT_GE(fd, 0);
    uint64_t number = 0;
    ASSERT_EQ(read(fd, &number, sizeof(number)), static_cast<ssize_t>(sizeof(number)));
    EXPECT_EQ(number, 2 * lane + 1);
    close(fd);
  }
}

TEST_F(ChannelTest, ADescriptorOfAnEarlierCallIsNotTaken) {
  SendFd(ends_[0], 3, 41, doorbell_);
  EXPECT_EQ(channel_.TakeFd(3, 42), -1);
  EXPECT_EQ(channel_.TakeFd(4, 41), -1);
  SendFd(ends_[0], 3, 42, doorbell_);
  const int fd = channel_.TakeFd(3, 42);
  EXPECT_GE(fd, 0);
  close(fd);
}

TEST_F(ChannelTest, NothingIsReadFromOrWrittenToANumberThatWasTakenByAnother) {
  int foreign[2];
  ASSERT_EQ(pipe2(foreign, O_CLOEXEC | O_NONBLOCK), 0);
  SendFd(ends_[0], 1, 1, doorbell_);
  ASSERT_EQ(dup2(foreign[1], ends_[1]), ends_[1]);
  ASSERT_EQ(dup2(foreign[1], doorbell_), doorbell_);
  EXPECT_FALSE(channel_.Intact());
  EXPECT_EQ(channel_.TakeFd(1, 1), -1);
  channel_.RingDoorbell();
  EXPECT_TRUE(channel_.lost());
  char byte;
  EXPECT_EQ(read(foreign[0], &byte, 1), -1);
  channel_.CloseInChild();
  EXPECT_GE(fcntl(ends_[1], F_GETFD), 0);
  for (const int fd : foreign) close(fd);
}

TEST_F(ChannelTest, AHangUpIsSeenAndRemembered) {
  EXPECT_FALSE(channel_.HungUp());
  close(ends_[0]);
  EXPECT_TRUE(channel_.HungUp());
  EXPECT_TRUE(channel_.lost());
  ends_[0] = -1;
}

}  // namespace
}  // namespace nvshim::preload
