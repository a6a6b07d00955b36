// Where a byte of an image lies in block linear memory, the layout of CUDA arrays: 64 by 8 bytes make a group
// (GOB) of 512, groups make blocks, blocks make rows, rows make layers. The order is that of Fermi and later,
// as the manuals of NVIDIA's Tegra chips describe it. Stateless.
#ifndef BROKER_DRIVER_SIM_ENGINE_BLOCK_LINEAR_H_
#define BROKER_DRIVER_SIM_ENGINE_BLOCK_LINEAR_H_

#include <cstdint>

namespace nvshim::broker::sim::engine {

struct BlockLinear {
  // Bytes in a row that are neighbours in memory too, from a multiple of it on.
  static constexpr uint32_t kRunBytes = 16;

  // log2 of a block's size, in groups.
  uint32_t block_width = 0, block_height = 0, block_depth = 0;
  uint64_t width = 0;   // of the image, bytes
  uint64_t height = 0;  // rows

  // From the image's first byte. Coordinates outside of the image yield some offset.
  uint64_t Offset(uint64_t x, uint64_t y, uint64_t z) const;
};

}  // namespace nvshim::broker::sim::engine

#endif  // BROKER_DRIVER_SIM_ENGINE_BLOCK_LINEAR_H_
