// Blocks in the order x, y, z; inside a block groups in the same order.
#include "broker/driver/sim/engine/block_linear.h"

namespace nvshim::broker::sim::engine {
namespace {

constexpr uint64_t kGroupWidth = 64, kGroupHeight = 8, kGroupBytes = kGroupWidth * kGroupHeight;

// Inside a group, sectors of 32 bytes are 16 bytes of two rows each.
uint64_t InGroup(uint64_t x, uint64_t y) {
  return x / 32 * 256 + y / 2 * 64 + x % 32 / 16 * 32 + y % 2 * 16 + x % 16;
}

uint64_t DivideUp(uint64_t value, uint64_t by) { return value / by + (value % by != 0); }

}  // namespace

uint64_t BlockLinear::Offset(uint64_t x, uint64_t y, uint64_t z) const {
  const uint64_t group_x = x / kGroupWidth, group_y = y / kGroupHeight;
  const uint64_t blocks_x = DivideUp(width, kGroupWidth << block_width);
  const uint64_t blocks_y = DivideUp(height, kGroupHeight << block_height);
  const uint64_t block =
      ((z >> block_depth) * blocks_y + (group_y >> block_height)) * blocks_x + (group_x >> block_width);
  const auto in_block = [](uint64_t group, uint32_t log2) { return group & ((uint64_t{1} << log2) - 1); };
  const uint64_t group =
      (((in_block(z, block_depth) << block_height) + in_block(group_y, block_height)) << block_width) +
      in_block(group_x, block_width);
  const uint64_t groups_before = (block << (block_width + block_height + block_depth)) + group;
  return groups_before * kGroupBytes + InGroup(x % kGroupWidth, y % kGroupHeight);
}

}  // namespace nvshim::broker::sim::engine
