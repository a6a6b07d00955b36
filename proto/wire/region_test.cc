// Laws of the region's layout: every lane, ring and the pool lie inside the region, 8-aligned, and no two of
// them share a byte; and what frames may hold fits where they are put.
#include "proto/wire/region.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "proto/wire/frame.h"

namespace nvshim::wire {
namespace {

struct Piece {
  uint64_t offset;
  uint64_t size_bytes;
};

// Every part of the region that one side or the other writes.
std::vector<Piece> Pieces() {
  // Nothing is read through it: only addresses are computed.
  static const std::unique_ptr<uint8_t[], decltype(&std::free)> region(
      static_cast<uint8_t*>(std::aligned_alloc(kPageSizeBytes, kRegionSizeBytes)), &std::free);
  uint8_t* base = region.get();
  const auto at = [&](const void* place) {
    return static_cast<uint64_t>(static_cast<const uint8_t*>(place) - base);
  };
  std::vector<Piece> pieces = {{at(HeaderOf(base)), sizeof(RegionHeader)},
                               {at(PoolOf(base)), kPoolSizeBytes}};
  for (uint32_t lane = 0; lane < kLaneCount; ++lane) {
    pieces.push_back({at(LaneOf(base, lane)), sizeof(LaneHeader)});
    pieces.push_back({at(RequestRingOf(base, lane)), kRingSizeBytes});
    pieces.push_back({at(ResponseRingOf(base, lane)), kRingSizeBytes});
  }
  return pieces;
}

TEST(RegionTest, EveryPieceLiesInsideTheRegion) {
  for (const Piece& piece : Pieces()) EXPECT_LE(piece.offset + piece.size_bytes, kRegionSizeBytes);
}

TEST(RegionTest, NoTwoPiecesShareACacheLine) {
  std::vector<Piece> pieces = Pieces();
  std::sort(pieces.begin(), pieces.end(), [](const Piece& a, const Piece& b) { return a.offset < b.offset; });
  for (size_t i = 1; i < pieces.size(); ++i) {
    EXPECT_LE(pieces[i - 1].offset + pieces[i - 1].size_bytes, pieces[i].offset);
    EXPECT_EQ(pieces[i].offset % 64, 0u);
  }
}

TEST(RegionTest, ThePoolEndsWithTheRegion) {
  EXPECT_EQ(Pieces()[1].offset + kPoolSizeBytes, kRegionSizeBytes);
  EXPECT_EQ(kRegionSizeBytes % kPageSizeBytes, 0u);
}

TEST(RegionTest, EveryCursorHasACacheLineOfItsOwn) {
  alignas(64) const LaneHeader lane{};
  const auto line = [](const void* field) { return reinterpret_cast<uintptr_t>(field) / 64; };
  const std::vector<uintptr_t> lines = {line(&lane.request_tail), line(&lane.request_head),
                                        line(&lane.response_tail), line(&lane.response_head),
                                        line(&lane.guest_waiting)};
  for (size_t i = 0; i < lines.size(); ++i)
    for (size_t j = 0; j < i; ++j) EXPECT_NE(lines[i], lines[j]);
}

TEST(FrameTest, SizesAreRoundedUpToEightAndNoFurther) {
  for (uint32_t size_bytes = 0; size_bytes <= 4096; ++size_bytes) {
    EXPECT_EQ(AlignUp8(size_bytes) % 8, 0u);
    EXPECT_GE(AlignUp8(size_bytes), size_bytes);
    EXPECT_LT(AlignUp8(size_bytes), size_bytes + 8);
  }
  EXPECT_EQ(AlignUp8(kSegmentSizeBytesMax), kSegmentSizeBytesMax);
}

TEST(FrameTest, TheLargestBodyAndTheLargestControlOfAnOrdinaryCallFitTheRingTwice) {
  constexpr uint32_t kLargestOrdinaryParams = 14988;  // NV2080 control 0x2080a0a7
  const uint32_t frame_bytes = static_cast<uint32_t>(sizeof(FrameHeader)) + AlignUp8(kLargestOrdinaryParams) +
                               AlignUp8(32);  // and NVOS54
  EXPECT_LE(2 * frame_bytes, kRingSizeBytes);
  EXPECT_LE(sizeof(FrameHeader) + kBodySizeBytesMax, kRingSizeBytes);
}

TEST(FrameTest, TheLargestSegmentFitsThePool) { EXPECT_LE(kSegmentSizeBytesMax, kPoolSizeBytes); }

TEST(FrameTest, TheMagicsReadAsTheyAreCalled) {
  const auto text = [](uint32_t magic) { return std::string(reinterpret_cast<const char*>(&magic), 4); };
  EXPECT_EQ(text(kFrameMagic), "NVSF");
  EXPECT_EQ(text(kRegionMagic), "NVSR");
}

}  // namespace
}  // namespace nvshim::wire
