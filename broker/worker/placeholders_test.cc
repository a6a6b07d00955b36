// Laws of the worker's ends of the placeholders, with the test as guest and as worker.
#include "broker/worker/placeholders.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <memory>
#include <optional>
#include <random>

#include "broker/io/loop.h"

namespace nvshim::broker {
namespace {

constexpr GuestId kGuest{3};
constexpr FileId kFile{0x1007};
constexpr uint8_t kKind = 5;

class PlaceholdersTest : public ::testing::Test {
 protected:
  PlaceholdersTest()
      : loop_(*Loop::Create()),
        placeholders_(loop_.get(), kKind),
        guests_end_(*placeholders_.Create(kGuest, NewInstance(), kFile, {DeviceClass::kGpu, 0})) {}

  // A name of its own for each test: the kernel may still be busy with the end of the loop before.
  static uint64_t NewInstance() { return std::random_device{}(); }

  bool readable() const {
    pollfd entry{guests_end_.get(), POLLIN, 0};
    return poll(&entry, 1, 0) == 1;
  }
  // Messages that wait for the guest; they are read.
  int Read() const {
    int count = 0;
    char bytes[16];
    while (recv(guests_end_.get(), bytes, sizeof(bytes), MSG_DONTWAIT) > 0) ++count;
    return count;
  }

  std::unique_ptr<Loop> loop_;
  Placeholders placeholders_;
  Fd guests_end_;
};

TEST_F(PlaceholdersTest, ASignalMakesTheGuestsEndReadable) {
  EXPECT_FALSE(readable());
  placeholders_.Signal(kGuest, kFile);
  EXPECT_TRUE(readable());
}

TEST_F(PlaceholdersTest, SignalsThatNobodyReadsAreOneMessage) {
  for (int i = 0; i < 100000; ++i) placeholders_.Signal(kGuest, kFile);
  EXPECT_EQ(Read(), 1);
  EXPECT_FALSE(readable());
  placeholders_.Signal(kGuest, kFile);
  EXPECT_EQ(Read(), 1) << "one that comes after it was read is told again";
}

TEST_F(PlaceholdersTest, SignalsOfFilesThatAreNotThereDoNothing) {
  placeholders_.Signal(kGuest, FileId{0x2007});
  placeholders_.Signal(GuestId{4}, kFile);
  placeholders_.Close(kGuest, kFile);
  placeholders_.Signal(kGuest, kFile);
  EXPECT_EQ(Read(), 0);
}

TEST_F(PlaceholdersTest, AnUnreadSignalDoesNotHideTheLastClose) {
  placeholders_.Signal(kGuest, kFile);
  guests_end_.Reset();
  loop_->Submit(true);
  std::optional<FileId> hung_up;
  Completion completion;
  while (loop_->Next(&completion)) {
    ASSERT_EQ(completion.tag.kind, kKind);
    placeholders_.Complete(
        completion, [](GuestId, FileId, uint32_t) { ADD_FAILURE() << "a claim"; },
        [&](GuestId, FileId file) { hung_up = file; });
  }
  EXPECT_EQ(hung_up, kFile);
  placeholders_.Signal(kGuest, kFile);  // of a file that is not closed yet: no crash, no SIGPIPE
}

}  // namespace
}  // namespace nvshim::broker
