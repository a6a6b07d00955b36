// Hand-made pushbuffers against memory that is one array.
#include "broker/driver/sim/engine/channel.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <vector>

namespace nvshim::broker::sim::engine {
namespace {

constexpr uint64_t kBase = 0x2'0000'0000;  // above 32 bits, so that upper halves matter
constexpr uint64_t kSize = 4 << 20;
constexpr uint64_t kHole = kBase + 0x10'0000, kHoleSize = 0x1000;  // not mapped
constexpr uint64_t kFifo = kBase, kPushbuffer = kBase + 0x1000, kSource = kBase + 0x8000,
                   kTarget = kBase + 0x20000, kSemaphore = kBase + 0x40000;
constexpr uint32_t kEntries = 8;
constexpr uint32_t kCopy = 4, kCompute = 1;  // subchannels

class ArrayHost : public Host {
 public:
  ArrayHost() : memory(kSize) {}
  std::span<uint8_t> Resolve(uint64_t address, uint64_t length) override {
    ++resolved;
    if (address < kBase || address >= kBase + kSize) return {};
    uint64_t end = kBase + kSize;
    if (address < kHole) end = kHole;
    if (address >= kHole && address < kHole + kHoleSize) return {};
    // In pieces of 4 KiB, as if no two pages were neighbours.
    end = std::min(end, (address & ~uint64_t{4095}) + 4096);
    return {memory.data() + (address - kBase), static_cast<size_t>(std::min(length, end - address))};
  }
  uint64_t NowNs() override { return 0x1122334455667788; }
  void Interrupt() override { ++interrupts; }

  template <typename T>
  T Get(uint64_t address) const {
    T value;
    std::memcpy(&value, memory.data() + (address - kBase), sizeof(T));
    return value;
  }
  template <typename T>
  void Put(uint64_t address, T value) {
    std::memcpy(memory.data() + (address - kBase), &value, sizeof(T));
  }

  std::vector<uint8_t> memory;
  uint64_t resolved = 0;
  int interrupts = 0;
};

class ChannelTest : public ::testing::Test {
 protected:
  ChannelTest() : userd_(kUserdBytes) {
    for (uint64_t i = 0; i < 0x10000; ++i)
      host_.memory[kSource - kBase + i] = static_cast<uint8_t>(i * 7 + i / 256);
  }

  static uint32_t Header(uint32_t operation, uint32_t subchannel, uint32_t method, uint32_t count) {
    return operation << 29 | count << 16 | subchannel << 13 | method / 4;
  }
  void Inc(uint32_t subchannel, uint32_t method, std::vector<uint32_t> data) {
    words_.push_back(Header(1, subchannel, method, static_cast<uint32_t>(data.size())));
    words_.insert(words_.end(), data.begin(), data.end());
  }
  void Bind() {
    Inc(kCopy, 0, {0xc7b5});
    Inc(kCompute, 0, {0xc6c0});
  }
  void CopyLines(uint64_t from, uint64_t to, uint32_t length, uint32_t lines, uint32_t launch) {
    Inc(kCopy, 0x400,
        {static_cast<uint32_t>(from >> 32), static_cast<uint32_t>(from), static_cast<uint32_t>(to >> 32),
         static_cast<uint32_t>(to), 0x100, 0x80, length, lines});
    Inc(kCopy, 0x300, {launch});
  }
  void SemaphoreMethods(uint32_t execute, uint64_t payload) {
    Inc(0, 0x5c,
        {static_cast<uint32_t>(kSemaphore), static_cast<uint32_t>(kSemaphore >> 32),
         static_cast<uint32_t>(payload), static_cast<uint32_t>(payload >> 32), execute});
  }
  // Queues what was written so far as one entry.
  void Submit() {
    std::memcpy(host_.memory.data() + (kPushbuffer - kBase) + offset_, words_.data(), words_.size() * 4);
    host_.Put<uint64_t>(kFifo + put_ * 8, (kPushbuffer + offset_) | uint64_t{words_.size()} << 42);
    offset_ += words_.size() * 4;
    words_.clear();
    put_ = (put_ + 1) % kEntries;
    SetPut(put_);
  }
  void SetPut(uint32_t put) { std::memcpy(userd_.data() + 0x8c, &put, 4); }
  uint32_t GpGet() const {
    uint32_t get;
    std::memcpy(&get, userd_.data() + 0x88, 4);
    return get;
  }
  Channel::State Run(uint64_t methods = 100000, uint64_t bytes = 1 << 24) {
    Budget budget{methods, bytes};
    return channel_.Turn(host_, userd_, &budget);
  }

  ArrayHost host_;
  std::vector<uint8_t> userd_;
  Channel channel_{kFifo, kEntries};
  std::vector<uint32_t> words_;
  uint64_t offset_ = 0;
  uint32_t put_ = 0;
};

constexpr uint32_t kPlainCopy = 0x182, kFourWords = 0x14, kMultiLine = 0x200;

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

TEST_F(ChannelTest, ALaunchOfAProgramFaults) {
  Bind();
  Inc(kCompute, 0x2b4, {0x1234});
  Inc(kCompute, 0x2c0, {3});
  SemaphoreMethods(1, 5);
  Submit();
  EXPECT_EQ(Run(), Channel::State::kFaulted);
  EXPECT_EQ(channel_.fault(), Fault::kShaderLaunch);
  EXPECT_EQ(channel_.fault_method(), 0x2c0u);
  EXPECT_EQ(host_.Get<uint32_t>(kSemaphore), 0u);
}

TEST_F(ChannelTest, ALaunchByAnInlineDescriptorFaults) {
  Bind();
  Inc(kCompute, 0x318, {0, 0x2064080, 0, 0});
  SemaphoreMethods(1, 5);
  Submit();
  EXPECT_EQ(Run(), Channel::State::kFaulted);
  EXPECT_EQ(channel_.fault(), Fault::kShaderLaunch);
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
  const uint32_t methods[] = {0x0,   0x5c,  0x60,  0x64,  0x6c,  0x180,  0x184,  0x188,
                              0x18c, 0x1b0, 0x1b4, 0x240, 0x244, 0x300,  0x400,  0x404,
                              0x408, 0x40c, 0x418, 0x41c, 0x708, 0x1b00, 0x1b04, 0x1b0c};
  for (int round = 0; round < 300; ++round) {
    ArrayHost host;
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
      if (kind == 2) word = random() % 2 ? 2 : 0xc7b5;
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
