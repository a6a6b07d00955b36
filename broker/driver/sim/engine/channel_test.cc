// Laws of channels: order, stalls, bounds, and that nothing happens after a fault.
#include <random>

#include "broker/driver/sim/engine/channel_test_fixture.h"

namespace nvshim::broker::sim::engine {
namespace {

TEST_F(ChannelTest, AnEmptyRingIsIdleAndCostsNothing) {
  EXPECT_EQ(Run(), Channel::State::kIdle);
  EXPECT_FALSE(channel_.TakeProgress());
  EXPECT_EQ(host_.resolved, 0u);
}

TEST_F(ChannelTest, ACopyArrivesBeforeItsSemaphore) {
  Bind();
  CopyLines(kSource + 5, kTarget + 3, 10001, 0, kPlainCopy);
  Inc(kCopy, 0x240, {static_cast<uint32_t>(kSemaphore >> 32), static_cast<uint32_t>(kSemaphore), 77});
  Inc(kCopy, 0x300, {kFourWords});
  Submit();
  ASSERT_EQ(Run(), Channel::State::kIdle);
  EXPECT_EQ(std::memcmp(&host_.memory[kSource + 5 - kBase], &host_.memory[kTarget + 3 - kBase], 10001), 0);
  EXPECT_EQ(host_.memory[kTarget + 3 + 10001 - kBase], 0);
  EXPECT_EQ(host_.Get<uint32_t>(kSemaphore), 77u);
  EXPECT_EQ(host_.Get<uint64_t>(kSemaphore + 8), host_.NowNs());
  EXPECT_EQ(GpGet(), 1u);
}

TEST_F(ChannelTest, LinesAreCopiedAtTheirPitches) {
  Bind();
  CopyLines(kSource, kTarget, 0x40, 3, kPlainCopy | kMultiLine);
  Submit();
  ASSERT_EQ(Run(), Channel::State::kIdle);
  for (uint32_t line = 0; line < 3; ++line)
    EXPECT_EQ(std::memcmp(&host_.memory[kSource + line * 0x100 - kBase],
                          &host_.memory[kTarget + line * 0x80 - kBase], 0x40),
              0);
  EXPECT_EQ(host_.memory[kTarget + 0x40 - kBase], 0);
}

TEST_F(ChannelTest, AFillRepeatsItsConstants) {
  Bind();
  Inc(kCopy, 0x700, {0xaabbccdd, 0x11223344, 0x01010000 | 4 | 5 << 4});  // two components of 2 bytes: A, B
  CopyLines(0, kTarget, 1500, 0, 0x586);
  Submit();
  ASSERT_EQ(Run(), Channel::State::kIdle);
  EXPECT_EQ(host_.Get<uint32_t>(kTarget), 0x3344ccddu);
  EXPECT_EQ(host_.Get<uint32_t>(kTarget + 4 * 1499), 0x3344ccddu);
  EXPECT_EQ(host_.Get<uint32_t>(kTarget + 4 * 1500), 0u);
}

TEST_F(ChannelTest, InlineDataStopsAtItsLength) {
  Bind();
  Inc(kCompute, 0x180, {6, 1, static_cast<uint32_t>(kTarget >> 32), static_cast<uint32_t>(kTarget + 4094)});
  Inc(kCompute, 0x1b0, {0x11});
  words_.push_back(Header(3, kCompute, 0x1b4, 2));
  words_.insert(words_.end(), {0x04030201, 0xffff0605});
  Submit();
  ASSERT_EQ(Run(), Channel::State::kIdle);
  const std::vector<uint8_t> expected = {1, 2, 3, 4, 5, 6, 0};
  EXPECT_TRUE(std::equal(expected.begin(), expected.end(), &host_.memory[kTarget + 4094 - kBase]));
}

TEST_F(ChannelTest, AnAcquireStallsUntilTheValueIsThere) {
  SemaphoreMethods(3, 0xffffffff);  // circular: 1 is ahead of -1
  SemaphoreMethods(1, 500);
  host_.Put<uint32_t>(kSemaphore, 0xfffffffe);
  Submit();
  EXPECT_EQ(Run(), Channel::State::kStalled);
  EXPECT_EQ(Run(), Channel::State::kStalled);
  EXPECT_EQ(host_.Get<uint32_t>(kSemaphore), 0xfffffffeu);
  host_.Put<uint32_t>(kSemaphore, 1);
  EXPECT_EQ(Run(), Channel::State::kIdle);
  EXPECT_EQ(host_.Get<uint32_t>(kSemaphore), 500u);
}

TEST_F(ChannelTest, WideSemaphoresCompareAllBits) {
  SemaphoreMethods(2 | 1 << 24, uint64_t{1} << 40);
  host_.Put<uint64_t>(kSemaphore, (uint64_t{1} << 40) - 1);
  Submit();
  EXPECT_EQ(Run(), Channel::State::kStalled);
  host_.Put<uint64_t>(kSemaphore, uint64_t{1} << 40);
  EXPECT_EQ(Run(), Channel::State::kIdle);
}

TEST_F(ChannelTest, NorWaitsForABitThatBothLeaveOpen) {
  SemaphoreMethods(5, 0x0fffffff);
  host_.Put<uint32_t>(kSemaphore, 0xf0000000);
  Submit();
  EXPECT_EQ(Run(), Channel::State::kStalled);
  host_.Put<uint32_t>(kSemaphore, 0x70000000);
  EXPECT_EQ(Run(), Channel::State::kIdle);
}

TEST_F(ChannelTest, ReductionsCombineWithWhatIsThere) {
  struct Case {
    uint32_t operation, is_unsigned, there, payload, result;
  };
  const Case cases[] = {
      {0, 0, 5, 0xffffffff, 0xffffffff},
      {0, 1, 5, 0xffffffff, 5},
      {1, 0, 5, 0xffffffff, 5},
      {1, 1, 5, 0xffffffff, 0xffffffff},
      {2, 1, 0xff, 0x0f, 0xf0},
      {3, 1, 0xff, 0x0f, 0x0f},
      {4, 1, 0xf0, 0x0f, 0xff},
      {5, 1, 0xffffffff, 2, 1},
      {6, 1, 3, 4, 4},
      {6, 1, 4, 4, 0},
      {7, 1, 3, 4, 2},
      {7, 1, 0, 4, 4},
      {7, 1, 9, 4, 4},
  };
  for (const Case& each : cases) {
    host_.Put<uint64_t>(kSemaphore, 0x77'0000'0000 | each.there);
    SemaphoreMethods(6 | each.operation << 27 | each.is_unsigned << 31, each.payload);
    Submit();
    ASSERT_EQ(Run(), Channel::State::kIdle);
    EXPECT_EQ(host_.Get<uint64_t>(kSemaphore), 0x77'0000'0000 | each.result)
        << "operation " << each.operation;
  }
}

TEST_F(ChannelTest, SegmentsAndSemaphoresHaveAddressesOf57Bits) {
  // No memory is there: what matters is that the upper bits are not lost.
  host_.Put<uint64_t>(kFifo, uint64_t{4} << 32 | 0x1ff'ff00);  // SET_PB_SEGMENT_EXTENDED_BASE
  host_.Put<uint64_t>(kFifo + 8, (kPushbuffer & 0xff'ffff'ffff) | uint64_t{1} << 42);
  SetPut(2);
  EXPECT_EQ(Run(), Channel::State::kFaulted);
  EXPECT_EQ(channel_.fault(), Fault::kBadAddress);
  EXPECT_EQ(host_.last_address, 0x1ff'ff00'0000'0000 | (kPushbuffer & 0xff'ffff'ffff));
}

TEST_F(ChannelTest, ASemaphoreOutsideTheFirstTerabyteIsFound) {
  Inc(0, 0x5c, {0x1000, 0x1ff'ffff, 1, 0, 1});
  Submit();
  EXPECT_EQ(Run(), Channel::State::kFaulted);
  EXPECT_EQ(host_.last_address, 0x1ff'ffff'0000'1000);
}

TEST_F(ChannelTest, AControlEntryOfNoKnownKindFaults) {
  host_.Put<uint64_t>(kFifo, uint64_t{1} << 32);  // ILLEGAL
  SetPut(1);
  EXPECT_EQ(Run(), Channel::State::kFaulted);
  EXPECT_EQ(channel_.fault(), Fault::kBadPushbuffer);
}

TEST_F(ChannelTest, ATrapIsAnInterruptAndWritesNothing) {
  Bind();
  Inc(kCompute, 0x1b00, {static_cast<uint32_t>(kSemaphore >> 32), static_cast<uint32_t>(kSemaphore), 9, 3});
  Submit();
  ASSERT_EQ(Run(), Channel::State::kIdle);
  EXPECT_EQ(host_.interrupts, 1);
  EXPECT_EQ(host_.Get<uint32_t>(kSemaphore), 0u);
}

TEST_F(ChannelTest, HoppersReportHas64BitsWhereAsked) {
  Bind();
  Inc(kCompute, 0x158,
      {0x11111111, 0x22222222, static_cast<uint32_t>(kSemaphore), static_cast<uint32_t>(kSemaphore >> 32),
       1 << 2 | 2 << 3 | 1 << 12});
  Submit();
  ASSERT_EQ(Run(), Channel::State::kIdle);
  EXPECT_EQ(host_.Get<uint64_t>(kSemaphore), 0x22222222'11111111u);
  EXPECT_EQ(host_.Get<uint64_t>(kSemaphore + 8), 0u) << "no time was asked for";
  EXPECT_EQ(host_.interrupts, 1);
}

TEST_F(ChannelTest, WorkOnAConditionFaults) {
  Bind();
  Inc(kCopy, 0x25c, {2});
  Submit();
  EXPECT_EQ(Run(), Channel::State::kFaulted);
  EXPECT_EQ(channel_.fault(), Fault::kUnsupported);
}

TEST_F(ChannelTest, AReportWithAwakenRaisesOneInterrupt) {
  Bind();
  Inc(kCompute, 0x1b00,
      {static_cast<uint32_t>(kSemaphore >> 32), static_cast<uint32_t>(kSemaphore), 9, 1 << 28 | 1 << 20});
  Submit();
  ASSERT_EQ(Run(), Channel::State::kIdle);
  EXPECT_EQ(host_.Get<uint32_t>(kSemaphore), 9u);
  EXPECT_EQ(host_.Get<uint64_t>(kSemaphore + 8), 0u) << "one word was asked for";
  EXPECT_EQ(host_.interrupts, 1);
}

TEST_F(ChannelTest, AnAddressWithoutMemoryFaultsAndNothingAfterItHappens) {
  Bind();
  CopyLines(kSource, kHole - 0x100, 0x200, 0, kPlainCopy);
  SemaphoreMethods(1, 5);
  Submit();
  EXPECT_EQ(Run(), Channel::State::kFaulted);
  EXPECT_EQ(channel_.fault(), Fault::kBadAddress);
  EXPECT_EQ(Run(), Channel::State::kFaulted);
  EXPECT_EQ(host_.Get<uint32_t>(kSemaphore), 0u);
}

TEST_F(ChannelTest, AnEndlessCopyTakesManyTurnsAndEachIsBounded) {
  Bind();
  Inc(kCopy, 0x400,
      {static_cast<uint32_t>(kSource >> 32), static_cast<uint32_t>(kSource),
       static_cast<uint32_t>(kTarget >> 32), static_cast<uint32_t>(kTarget), 0, 0, 16, 0xffffffff});
  Inc(kCopy, 0x300, {kPlainCopy | kMultiLine});
  Submit();
  for (int turn = 0; turn < 5; ++turn) {
    host_.resolved = 0;
    EXPECT_EQ(Run(1000, 64000), Channel::State::kMore);
    EXPECT_LE(host_.resolved, 4000u);
  }
}

TEST_F(ChannelTest, TheRingWrapsAround) {
  for (uint32_t i = 0; i < 3 * kEntries; ++i) {
    SemaphoreMethods(1, i);
    Submit();
    ASSERT_EQ(Run(), Channel::State::kIdle);
    ASSERT_EQ(host_.Get<uint32_t>(kSemaphore), i);
    ASSERT_EQ(GpGet(), put_);
  }
}

TEST_F(ChannelTest, APutOutsideTheRingFaults) {
  SetPut(kEntries);
  EXPECT_EQ(Run(), Channel::State::kFaulted);
  EXPECT_EQ(channel_.fault(), Fault::kBadPushbuffer);
}

// Whatever lies in ring and pushbuffers, a turn ends within its budget and touches only mapped memory (which
// the sanitizers watch).
TEST(ChannelFuzz, AnyPushbufferEndsWithinItsBudget) {
  std::mt19937 random(20240607);
  const uint32_t methods[] = {0x0,   0x5c,  0x60,  0x64,  0x6c,  0x158,  0x160,  0x168, 0x180, 0x184,
                              0x188, 0x18c, 0x1b0, 0x1b4, 0x240, 0x244,  0x2b4,  0x2c0, 0x300, 0x318,
                              0x31c, 0x320, 0x41c, 0x400, 0x404, 0x408,  0x40c,  0x418, 0x704, 0x708,
                              0x70c, 0x710, 0x728, 0x72c, 0x744, 0x1b00, 0x1b04, 0x1b0c};
  for (int round = 0; round < 300; ++round) {
    ArrayHost host;
    host.skips_kernels = round % 2 != 0;
    for (uint64_t i = 0; i < kEntries; ++i)
      host.Put<uint64_t>(kFifo + i * 8,
                         (kPushbuffer + (random() % 0x4000 & ~3u)) | uint64_t{random() % 0x2000} << 42);
    for (uint64_t at = kPushbuffer; at < kPushbuffer + 0x6000; at += 4) {
      uint32_t word = random();
      const uint32_t kind = random() % 4;
      if (kind == 0)
        word = 1u << 29 | (random() % 8) << 16 | (random() % 2 ? 4u : 1u) << 13 |
               methods[random() % std::size(methods)] / 4;
      if (kind == 1) word = static_cast<uint32_t>(kBase) + random() % kSize;
      if (kind == 2) {
        const uint32_t words[] = {2, 10, 0xc7b5, 0xcbc0, 0x24, 0x40};
        word = words[random() % std::size(words)];
      }
      host.Put(at, word);
    }
    std::vector<uint8_t> userd(kUserdBytes);
    const uint32_t put = 1 + random() % (kEntries - 1);
    std::memcpy(userd.data() + 0x8c, &put, 4);
    Channel channel(kFifo, kEntries);
    for (int turn = 0; turn < 20; ++turn) {
      Budget budget{500, 1 << 16};
      host.resolved = 0;
      channel.Turn(host, userd, &budget);
      ASSERT_LE(host.resolved, 20000u);
    }
  }
}

}  // namespace
}  // namespace nvshim::broker::sim::engine
