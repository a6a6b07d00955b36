// The copy engine of a channel (classes *_DMA_COPY_*): methods 0x240 to 0x750 set registers, LAUNCH_DMA
// starts a copy or a fill of lines, and a semaphore tells that it is done. Memory is named by virtual address
// and is linear or block linear. A launch is executed in bounded pieces, because a guest may ask for 2^64
// bytes at once. One thread at a time.
#ifndef BROKER_DRIVER_SIM_ENGINE_COPY_ENGINE_H_
#define BROKER_DRIVER_SIM_ENGINE_COPY_ENGINE_H_

#include <array>
#include <cstdint>

#include "broker/driver/sim/engine/block_linear.h"
#include "broker/driver/sim/engine/fault.h"
#include "broker/driver/sim/engine/host.h"

namespace nvshim::broker::sim::engine {

class CopyEngine {
 public:
  // Executes one method; after a launch busy() may be true.
  Fault Method(Host& host, uint32_t method, uint32_t data);

  // A launch is not finished yet: no further method may be executed before it is.
  bool busy() const { return busy_; }

  // Goes on with the launch for about `*bytes`, which it lowers by what it did.
  Fault Continue(Host& host, uint64_t* bytes);

 private:
  static constexpr uint32_t kRegistersEnd = 0x800;

  // Source or target of a launch.
  struct Side {
    uint64_t base = 0;
    uint64_t pitch = 0;  // of linear memory
    bool block_linear = false;
    BlockLinear image{};
    uint64_t x = 0, y = 0, z = 0;  // of the first byte, in the image

    // Where byte `byte` of line `line` lies, and how many bytes from there on lie side by side.
    uint64_t Address(uint64_t byte, uint64_t line, uint64_t* run) const;
  };

  // An element of a remapped line: up to four components of up to four bytes.
  struct Remap {
    uint32_t component_bytes = 0;
    uint32_t source_components = 0, target_components = 0;
    std::array<uint8_t, 4> selects{};
    uint32_t source_bytes() const { return component_bytes * source_components; }
    uint32_t target_bytes() const { return component_bytes * target_components; }
  };

  uint32_t Register(uint32_t method) const { return registers_[method / 4]; }
  uint64_t Address(uint32_t upper_method) const;
  Fault Launch(Host& host, uint32_t launch);
  Fault StartSide(uint32_t surface_methods, uint32_t address_methods, uint32_t pitch_method, bool linear,
                  Side* side) const;
  Fault StartRemap();
  Fault Finish(Host& host);
  uint64_t CopyPiece(Host& host, uint64_t limit);
  uint64_t FillPiece(Host& host, uint64_t limit);
  uint64_t RemapPiece(Host& host, uint64_t limit);

  std::array<uint32_t, kRegistersEnd / 4> registers_{};
  bool busy_ = false;
  uint32_t launch_ = 0;
  enum class Kind : uint8_t { kCopy, kFill, kRemap } kind_ = Kind::kCopy;
  Side source_, target_;
  uint64_t line_bytes_ = 0, line_done_ = 0;  // of the target
  uint64_t line_ = 0, lines_ = 0;
  Remap remap_;
  std::array<uint8_t, 16> pattern_{};  // the element of a fill, or what a remap does not take from its source
};

}  // namespace nvshim::broker::sim::engine

#endif  // BROKER_DRIVER_SIM_ENGINE_COPY_ENGINE_H_
