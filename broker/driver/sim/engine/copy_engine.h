// The copy engine of a channel (classes *_DMA_COPY_*): methods 0x240 to 0x708 set registers, LAUNCH_DMA
// starts a copy or a fill of lines, and a semaphore tells that it is done. Linear memory by virtual address
// only. A launch is executed in bounded pieces, because a guest may ask for 2^64 bytes at once. One thread at
// a time.
#ifndef BROKER_DRIVER_SIM_ENGINE_COPY_ENGINE_H_
#define BROKER_DRIVER_SIM_ENGINE_COPY_ENGINE_H_

#include <array>
#include <cstdint>

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

  uint32_t Register(uint32_t method) const { return registers_[method / 4]; }
  uint64_t Address(uint32_t upper_method) const {
    // Virtual addresses have 49 bits; the engine takes 17 in the upper register.
    return uint64_t{Register(upper_method) & 0x1ffff} << 32 | Register(upper_method + 4);
  }
  Fault Launch(Host& host, uint32_t launch);
  Fault StartFill();
  Fault Finish(Host& host);
  uint64_t CopyPiece(Host& host, uint64_t limit);
  uint64_t FillPiece(Host& host, uint64_t limit);

  std::array<uint32_t, kRegistersEnd / 4> registers_{};
  bool busy_ = false;
  bool fill_ = false;
  uint32_t launch_ = 0;
  uint64_t source_ = 0, target_ = 0;  // of the current line
  uint64_t line_bytes_ = 0, line_done_ = 0;
  uint32_t lines_left_ = 0;
  std::array<uint8_t, 16> pattern_{};
  uint32_t pattern_bytes_ = 0;
};

}  // namespace nvshim::broker::sim::engine

#endif  // BROKER_DRIVER_SIM_ENGINE_COPY_ENGINE_H_
