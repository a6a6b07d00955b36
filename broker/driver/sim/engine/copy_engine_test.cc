// Laws of copies beyond plain lines: remapped components, block linear images, what is refused.
#include <set>

#include "broker/driver/sim/engine/block_linear.h"
#include "broker/driver/sim/engine/channel_test_fixture.h"

namespace nvshim::broker::sim::engine {
namespace {

constexpr uint32_t kRemap = 1 << 10;

TEST_F(ChannelTest, RemappingSwapsComponentsAndLeavesOthersAlone) {
  Bind();
  // Four components of two bytes: Y, X, constant B, not written.
  Inc(kCopy, 0x704, {0x1234beef, 1 | 0 << 4 | 5 << 8 | 6 << 12 | 1 << 16 | 1 << 20 | 3 << 24});
  host_.Put<uint64_t>(kTarget, 0xaaaa'aaaa'aaaa'aaaa);
  host_.Put<uint64_t>(kTarget + 8, 0xaaaa'aaaa'aaaa'aaaa);
  host_.Put<uint64_t>(kSource, 0x4444'3333'2222'1111);
  CopyLines(kSource, kTarget, 2, 0, kPlainCopy | kRemap);
  Submit();
  ASSERT_EQ(Run(), Channel::State::kIdle);
  EXPECT_EQ(host_.Get<uint64_t>(kTarget), 0xaaaa'beef'1111'2222);
  EXPECT_EQ(host_.Get<uint64_t>(kTarget + 8), 0xaaaa'beef'3333'4444);
  EXPECT_EQ(host_.Get<uint64_t>(kTarget + 16), 0u);
}

TEST_F(ChannelTest, AFillWithThreeBytesPerElementEndsInTheMiddleOfNone) {
  Bind();
  Inc(kCopy, 0x700, {0x00ccbbaa, 0, 4 | 2 << 16});
  CopyLines(0, kTarget, 3000, 0, kPlainCopy | kRemap);
  Submit();
  ASSERT_EQ(Run(100000, 1000), Channel::State::kMore) << "pieces that end inside of elements";
  while (Run(100000, 1000) == Channel::State::kMore) {
  }
  for (uint32_t i = 0; i < 3000; ++i)
    ASSERT_EQ(host_.Get<uint32_t>(kTarget + 3 * i) & 0xffffff, 0xccbbaau) << i;
  EXPECT_EQ(host_.memory[kTarget - kBase + 9000], 0);
}

TEST_F(ChannelTest, AComponentThatTheSourceLacksFaults) {
  Bind();
  Inc(kCopy, 0x708, {2 | 1 << 20});
  CopyLines(kSource, kTarget, 2, 0, kPlainCopy | kRemap);
  Submit();
  EXPECT_EQ(Run(), Channel::State::kFaulted);
  EXPECT_EQ(channel_.fault(), Fault::kUnsupported);
}

TEST_F(ChannelTest, ASemaphoreOfACopyMayReduce) {
  Bind();
  host_.Put<uint32_t>(kSemaphore, 40);
  Inc(kCopy, 0x240, {static_cast<uint32_t>(kSemaphore >> 32), static_cast<uint32_t>(kSemaphore), 2});
  Inc(kCopy, 0x300, {1 << 3 | 5 << 14 | 1 << 18 | 1 << 19});  // one word, IADD, unsigned
  Submit();
  ASSERT_EQ(Run(), Channel::State::kIdle);
  EXPECT_EQ(host_.Get<uint32_t>(kSemaphore), 42u);
}

// GOB by GOB as the Tegra manuals draw it.
TEST(BlockLinearTest, HasTheOrderOfTheManual) {
  const BlockLinear image{.block_height = 1, .width = 256, .height = 64};
  EXPECT_EQ(image.Offset(0, 0, 0), 0u);
  EXPECT_EQ(image.Offset(15, 0, 0), 15u);
  EXPECT_EQ(image.Offset(0, 1, 0), 16u) << "two rows of 16 bytes are a sector";
  EXPECT_EQ(image.Offset(16, 0, 0), 32u);
  EXPECT_EQ(image.Offset(0, 2, 0), 64u);
  EXPECT_EQ(image.Offset(32, 0, 0), 256u);
  EXPECT_EQ(image.Offset(0, 8, 0), 512u) << "the second group of the block";
  EXPECT_EQ(image.Offset(64, 0, 0), 1024u) << "the second block";
  EXPECT_EQ(image.Offset(0, 16, 0), 4096u) << "the second row of blocks";
  EXPECT_EQ(image.Offset(0, 0, 1), 16384u) << "the second layer";
}

TEST(BlockLinearTest, NoTwoBytesShareAPlaceAndNoneIsLost) {
  for (const uint32_t log2 : {0u, 1u, 2u}) {
    const BlockLinear image{.block_height = log2, .block_depth = 1, .width = 128, .height = 32};
    std::set<uint64_t> offsets;
    for (uint64_t z = 0; z < 4; ++z)
      for (uint64_t y = 0; y < 32; ++y)
        for (uint64_t x = 0; x < 128; ++x) offsets.insert(image.Offset(x, y, z));
    EXPECT_EQ(offsets.size(), 4u * 32 * 128);
    EXPECT_EQ(*offsets.rbegin(), 4u * 32 * 128 - 1);
  }
}

class ImageTest : public ChannelTest {
 protected:
  static constexpr uint64_t kImage = kBase + 0x180000;
  // An image of 200 by 100 bytes in blocks of two groups; from the origin on.
  void Image(uint32_t from_method, uint32_t x, uint32_t y) {
    Inc(kCopy, from_method, {1 << 4 | 1 << 12, 200, 100, 1, 0});
    Inc(kCopy, from_method == 0x70c ? 0x74c : 0x744, {x, y});
  }
  void Copy(uint64_t from, uint64_t to, uint32_t length, uint32_t lines, uint32_t launch) {
    Inc(kCopy, 0x400,
        {static_cast<uint32_t>(from >> 32), static_cast<uint32_t>(from), static_cast<uint32_t>(to >> 32),
         static_cast<uint32_t>(to), 200, 200, length, lines});
    Inc(kCopy, 0x300, {launch | kMultiLine});
    Submit();
  }
};

TEST_F(ImageTest, APartOfAnImageGoesInAndOut) {
  constexpr uint32_t kX = 67, kY = 41, kLength = 50, kLines = 30, kIn = 0x082, kOut = 0x102;
  Bind();
  Image(0x70c, kX, kY);
  Copy(kSource, kImage, kLength, kLines, kIn);
  ASSERT_EQ(Run(), Channel::State::kIdle);
  const BlockLinear image{.block_height = 1, .width = 200, .height = 100};
  for (uint32_t y = 0; y < kLines; ++y)
    for (uint32_t x = 0; x < kLength; ++x)
      ASSERT_EQ(host_.memory[kImage - kBase + image.Offset(kX + x, kY + y, 0)],
                host_.memory[kSource - kBase + y * 200 + x]);
  Image(0x728, kX, kY);
  Copy(kImage, kTarget, kLength, kLines, kOut);
  ASSERT_EQ(Run(100, 500), Channel::State::kMore);
  while (Run(100, 500) == Channel::State::kMore) {
  }
  for (uint32_t y = 0; y < kLines; ++y)
    EXPECT_EQ(std::memcmp(&host_.memory[kTarget - kBase + y * 200], &host_.memory[kSource - kBase + y * 200],
                          kLength),
              0);
}

TEST_F(ImageTest, UnknownLayoutsFault) {
  Bind();
  Inc(kCopy, 0x70c, {6 << 4 | 1 << 12});  // 64 groups high
  Copy(kSource, kImage, 10, 1, 0x082);
  EXPECT_EQ(Run(), Channel::State::kFaulted);
  EXPECT_EQ(channel_.fault(), Fault::kUnsupported);
}

}  // namespace
}  // namespace nvshim::broker::sim::engine
