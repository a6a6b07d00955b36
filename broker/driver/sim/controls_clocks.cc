// Clock questions that go to the GPU's firmware (commands with bit 0x8000); no public header describes them.
// Layouts are what libcuda reads from the answers.
#include <algorithm>

#include "broker/driver/sim/controls.h"

namespace nvshim::broker::sim {
namespace {

// Domain bits that libcuda looks at: 0 = graphics, 2 = memory.
constexpr uint32_t kGraphics = 1u << 0, kMemory = 1u << 2;

uint32_t KHz(const Profile& profile, uint32_t domain) {
  if (domain == kGraphics) return profile.graphics_clock_mhz * 1000;
  if (domain == kMemory) return profile.memory_clock_mhz * 1000;
  return 0;
}

}  // namespace

NvStatus ClockDomainMask(ControlContext& context) {
  context.params.PutU32(4, kGraphics | kMemory);
  return NV_OK;
}

NvStatus ClockValues(ControlContext& context) {
  // {flags, n, {domain, bit, ?, kHz}[32]}
  const uint32_t count = std::min<uint32_t>(context.params.U32(4), 32);
  for (uint32_t i = 0; i < count; ++i) {
    const size_t entry = 8 + size_t{16} * i;
    const uint32_t domain = context.params.U32(entry);
    context.params.PutU32(entry + 4, domain);
    context.params.PutU32(entry + 12, KHz(context.profile(), domain));
  }
  return NV_OK;
}

NvStatus ClockProgrammableMask(ControlContext& context) {
  context.params.PutU32(0, kGraphics | kMemory);
  return NV_OK;
}

NvStatus ClockPercent(ControlContext& context) {
  // n at 16, entries of 16 bytes at 20, percent in their third word
  const uint32_t count = std::min<uint32_t>(context.params.U32(16), 32);
  for (uint32_t i = 0; i < count; ++i) context.params.PutU32(20 + size_t{16} * i + 8, 100);
  return NV_OK;
}

}  // namespace nvshim::broker::sim
