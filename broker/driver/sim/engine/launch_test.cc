// Laws of launches: without permission they stop the channel, with it all that surrounds the program happens
// exactly once and in order.
#include <array>

#include "broker/driver/sim/engine/channel_test_fixture.h"

namespace nvshim::broker::sim::engine {
namespace {

constexpr uint64_t kQmd = kBase + 0x60000;  // descriptors, 0x200 apart
constexpr uint64_t kCount = kSemaphore + 0x100;

// How a version of the descriptor is written; the numbers are the headers'.
struct Version {
  const char* name;
  uint32_t version, program_bit, program;
  uint32_t counter_bit, schedule_bit, self_copy_bit;
  uint32_t release_bit, address_bit, payload_bit, one_word_bit, reduces_bit;
  uint32_t dependent_bit, pointer_bit;
};

constexpr Version kVersions[] = {
    {"2.4", 0x24, 1536, 0, 151, 140, 158, 138, 736, 800, 799, 794, 141, 480},
    {"3.0", 0x30, 1536, 0, 142, 140, 158, 823, 768, 832, 830, 826, 512, 480},
    {"4.0", 0x40, 1216, 1, 0, 30, 378, 320, 640, 704, 321, 324, 368, 448},
};

class LaunchTest : public ChannelTest, public testing::WithParamInterface<Version> {
 protected:
  void SetUp() override {
    host_.skips_kernels = true;
    Bind();
  }
  static uint64_t At(uint32_t index) { return kQmd + index * 0x200; }
  void Set(uint32_t index, uint32_t bit, uint32_t bits, uint32_t value) {
    uint32_t word = host_.Get<uint32_t>(At(index) + bit / 32 * 4);
    word &= ~((bits == 32 ? ~0u : (1u << bits) - 1) << bit % 32);
    host_.Put(At(index) + bit / 32 * 4, word | value << bit % 32);
  }
  // A program at 0x12345600 that, when done, adds one to a count.
  void MakeQmd(uint32_t index) {
    const Version& version = GetParam();
    Set(index, 576, 4, version.version & 0xf);
    Set(index, 580, 4, version.version >> 4);
    if (version.version >= 0x40) Set(index, 23, 3, 2);  // GRID_CTA
    Set(index, version.program_bit, 32, 0x12345600);
    Set(index, version.release_bit, 1, 1);
    Set(index, version.address_bit, 32, static_cast<uint32_t>(kCount));
    Set(index, version.address_bit + 32, 8, static_cast<uint32_t>(kCount >> 32));
    Set(index, version.payload_bit, 32, 1);
    Set(index, version.one_word_bit, 1, 1);
    Set(index, version.reduces_bit, 1, 1);
  }
  void DependsOn(uint32_t index, uint32_t other, uint32_t action) {
    Set(index, GetParam().dependent_bit, 1, 1);
    Set(index, GetParam().dependent_bit + 1, 3, action);
    Set(index, GetParam().pointer_bit, 32, static_cast<uint32_t>(At(other) >> 8));
  }
  void Send(uint32_t index, uint32_t action) {
    Inc(kCompute, 0x2b4, {static_cast<uint32_t>(At(index) >> 8)});
    Inc(kCompute, 0x2c0, {action});
    Submit();
  }
  uint32_t Count() const { return host_.Get<uint32_t>(kCount); }

  static constexpr uint32_t kSchedule = 2, kCopySchedule = 10, kDecrement = 7;  // PCAS actions
  static constexpr uint32_t kThenSchedule = 1, kThenDecrement = 4;              // DEPENDENT_QMD_ACTION
};

TEST_P(LaunchTest, WithoutPermissionItStopsTheChannel) {
  host_.skips_kernels = false;
  MakeQmd(0);
  Send(0, kCopySchedule);
  SemaphoreMethods(1, 5);
  Submit();
  EXPECT_EQ(Run(), Channel::State::kFaulted);
  EXPECT_EQ(channel_.fault(), Fault::kShaderLaunch);
  ASSERT_EQ(host_.launches.size(), 1u);
  EXPECT_EQ(host_.launches[0].class_number, 0xc6c0u);
  EXPECT_EQ(host_.launches[0].qmd_version, GetParam().version);
  EXPECT_EQ(host_.launches[0].program, 0x12345600u);
  EXPECT_EQ(Count(), 0u);
  EXPECT_EQ(host_.Get<uint32_t>(kSemaphore), 0u);
}

TEST_P(LaunchTest, ItsReleaseIsMadeOnce) {
  MakeQmd(0);
  Send(0, kCopySchedule);
  EXPECT_EQ(Run(), Channel::State::kIdle);
  EXPECT_EQ(Count(), 1u);
  EXPECT_EQ(host_.launches.size(), 1u);
}

TEST_P(LaunchTest, APlainReleaseWritesPayloadAndTime) {
  MakeQmd(0);
  Set(0, GetParam().reduces_bit, 1, 0);
  Set(0, GetParam().one_word_bit, 1, 0);
  Set(0, GetParam().payload_bit, 32, 0xabcd);
  Send(0, kCopySchedule);
  EXPECT_EQ(Run(), Channel::State::kIdle);
  EXPECT_EQ(Count(), 0xabcdu);
  EXPECT_EQ(host_.Get<uint64_t>(kCount + 8), host_.NowNs());
}

// How libcuda runs a graph: nodes from the last to the first, each starting the next.
TEST_P(LaunchTest, AChainRunsOnceFromTheFirstOn) {
  constexpr uint32_t kNodes = 5;
  for (uint32_t i = 0; i < kNodes; ++i) {
    MakeQmd(i);
    if (i != 0) Set(i, GetParam().schedule_bit, 1, 1);
    Set(i, GetParam().self_copy_bit, 1, 1);
    if (i + 1 != kNodes) DependsOn(i, i + 1, kThenSchedule);
  }
  for (uint32_t round = 1; round <= 2; ++round) {
    for (uint32_t i = kNodes - 1; i != 0; --i) {
      Send(i, kCopySchedule);
      ASSERT_EQ(Run(), Channel::State::kIdle);
      ASSERT_EQ(Count(), (round - 1) * kNodes) << "node " << i << " waits";
    }
    Send(0, kCopySchedule);
    ASSERT_EQ(Run(), Channel::State::kIdle);
    EXPECT_EQ(Count(), round * kNodes);
  }
}

TEST_P(LaunchTest, ADescriptorWithACounterWaitsForAllItCounts) {
  MakeQmd(0);
  Set(0, GetParam().counter_bit, 7, 2);
  MakeQmd(1);
  DependsOn(1, 0, kThenDecrement);
  Send(0, kCopySchedule);
  ASSERT_EQ(Run(), Channel::State::kIdle);
  EXPECT_EQ(Count(), 0u);
  Send(1, kCopySchedule);
  ASSERT_EQ(Run(), Channel::State::kIdle);
  EXPECT_EQ(Count(), 1u);
  Send(0, kDecrement);
  ASSERT_EQ(Run(), Channel::State::kIdle);
  EXPECT_EQ(Count(), 2u);
}

TEST_P(LaunchTest, ARingOfDescriptorsEndsWithTheTurn) {
  MakeQmd(0);
  MakeQmd(1);
  DependsOn(0, 1, kThenSchedule);
  DependsOn(1, 0, kThenSchedule);
  Send(0, kCopySchedule);
  EXPECT_EQ(Run(1000), Channel::State::kMore);
  EXPECT_LE(host_.launches.size(), 1000u);
}

TEST_P(LaunchTest, AnUnknownVersionIsNotSkipped) {
  MakeQmd(0);
  Set(0, 580, 4, 9);
  Send(0, kCopySchedule);
  EXPECT_EQ(Run(), Channel::State::kFaulted);
  EXPECT_EQ(channel_.fault(), Fault::kUnsupported);
  EXPECT_EQ(Count(), 0u);
}

INSTANTIATE_TEST_SUITE_P(Versions, LaunchTest, testing::ValuesIn(kVersions),
                         [](const auto& version) { return "V" + std::to_string(version.param.version); });

TEST_F(ChannelTest, AnInlineDescriptorIsStoredAndStartedByItsLastWord) {
  host_.skips_kernels = true;
  Bind();
  Inc(kCompute, 0x318, {static_cast<uint32_t>(kQmd >> 40), static_cast<uint32_t>(kQmd >> 8)});
  std::vector<uint32_t> words(64);
  words[4] = 1 << 10;  // SEMAPHORE_RELEASE_ENABLE0
  words[18] = 0x24;
  words[23] = static_cast<uint32_t>(kSemaphore);
  words[24] = static_cast<uint32_t>(kSemaphore >> 32) | 1u << 31;
  words[25] = 0x77;
  const uint32_t last = words.back();
  words.pop_back();
  Inc(kCompute, 0x320, words);
  Submit();
  ASSERT_EQ(Run(), Channel::State::kIdle);
  EXPECT_TRUE(host_.launches.empty());
  Inc(kCompute, 0x41c, {last});
  Submit();
  ASSERT_EQ(Run(), Channel::State::kIdle);
  EXPECT_EQ(host_.launches.size(), 1u);
  EXPECT_EQ(host_.Get<uint32_t>(kSemaphore), 0x77u);
  EXPECT_EQ(host_.Get<uint32_t>(kQmd + 18 * 4), 0x24u);
}

}  // namespace
}  // namespace nvshim::broker::sim::engine
