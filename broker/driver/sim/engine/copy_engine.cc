// Method numbers and fields of AMPERE_DMA_COPY_B (clc7b5.h); Hopper's engine has the same.
#include "broker/driver/sim/engine/copy_engine.h"

#include <algorithm>
#include <cstring>

#include "broker/driver/sim/engine/semaphore.h"

namespace nvshim::broker::sim::engine {
namespace {

constexpr uint32_t SET_SEMAPHORE_A = 0x240, SET_SEMAPHORE_PAYLOAD = 0x248,
                   SET_SEMAPHORE_PAYLOAD_UPPER = 0x24c, LAUNCH_DMA = 0x300, OFFSET_IN_UPPER = 0x400,
                   OFFSET_OUT_UPPER = 0x408, PITCH_IN = 0x410, PITCH_OUT = 0x414, LINE_LENGTH_IN = 0x418,
                   LINE_COUNT = 0x41c, SET_REMAP_CONST_A = 0x700, SET_REMAP_CONST_B = 0x704,
                   SET_REMAP_COMPONENTS = 0x708;

// LAUNCH_DMA
constexpr uint32_t kTransferTypeMask = 0x3;
constexpr uint32_t kSourceIsPitch = 1 << 7, kTargetIsPitch = 1 << 8, kMultiLine = 1 << 9, kRemap = 1 << 10,
                   kSourcePhysical = 1 << 12, kTargetPhysical = 1 << 13, kReduction = 1 << 19,
                   kPayloadIsWide = 1 << 27;
constexpr uint32_t SemaphoreType(uint32_t launch) { return (launch >> 3) & 3; }
constexpr uint32_t kSemaphoreNone = 0, kSemaphoreOneWord = 1, kSemaphoreFourWords = 2;
constexpr uint32_t InterruptType(uint32_t launch) { return (launch >> 5) & 3; }

// SET_REMAP_COMPONENTS: what each component of an element of the target is made of.
constexpr uint32_t kSelectConstA = 4, kSelectConstB = 5;

// A line costs about as much as this many bytes, however short it is.
constexpr uint64_t kLineCostBytes = 64;

}  // namespace

Fault CopyEngine::Method(Host& host, uint32_t method, uint32_t data) {
  if (method >= kRegistersEnd) return Fault::kNone;  // state of features that are not simulated
  registers_[method / 4] = data;
  return method == LAUNCH_DMA ? Launch(host, data) : Fault::kNone;
}

Fault CopyEngine::Launch(Host& host, uint32_t launch) {
  launch_ = launch;
  busy_ = true;
  line_done_ = 0;
  lines_left_ = 0;
  if ((launch & kTransferTypeMask) == 0) return Finish(host);
  if ((launch & (kSourcePhysical | kTargetPhysical)) != 0) return Fault::kUnsupported;
  if ((launch & kTargetIsPitch) == 0) return Fault::kUnsupported;
  fill_ = (launch & kRemap) != 0;
  if (!fill_ && (launch & kSourceIsPitch) == 0) return Fault::kUnsupported;
  source_ = Address(OFFSET_IN_UPPER);
  target_ = Address(OFFSET_OUT_UPPER);
  line_bytes_ = Register(LINE_LENGTH_IN);
  lines_left_ = (launch & kMultiLine) != 0 ? Register(LINE_COUNT) : 1;
  if (fill_)
    if (const Fault fault = StartFill(); fault != Fault::kNone) return fault;
  if (line_bytes_ == 0) lines_left_ = 0;
  return Fault::kNone;
}

// Remapping with constants only: what fills memory. With a source it converts formats, which nobody here
// does.
Fault CopyEngine::StartFill() {
  const uint32_t remap = Register(SET_REMAP_COMPONENTS);
  const uint32_t component_bytes = ((remap >> 16) & 3) + 1;
  const uint32_t components = ((remap >> 24) & 3) + 1;
  pattern_bytes_ = component_bytes * components;
  for (uint32_t i = 0; i < components; ++i) {
    const uint32_t select = (remap >> (4 * i)) & 7;
    if (select != kSelectConstA && select != kSelectConstB) return Fault::kUnsupported;
    const uint32_t value = Register(select == kSelectConstA ? SET_REMAP_CONST_A : SET_REMAP_CONST_B);
    std::memcpy(pattern_.data() + i * component_bytes, &value, component_bytes);
  }
  line_bytes_ *= pattern_bytes_;  // the length counts elements; 2^32 of 16 bytes fit
  return Fault::kNone;
}

Fault CopyEngine::Continue(Host& host, uint64_t* bytes) {
  while (lines_left_ != 0) {
    if (*bytes == 0) return Fault::kNone;
    const uint64_t limit = std::min(*bytes, line_bytes_ - line_done_);
    const uint64_t done = fill_ ? FillPiece(host, limit) : CopyPiece(host, limit);
    if (done == 0) return Fault::kBadAddress;
    *bytes -= std::min(*bytes, std::max(done, kLineCostBytes));
    line_done_ += done;
    if (line_done_ != line_bytes_) continue;
    --lines_left_;
    line_done_ = 0;
    source_ += Register(PITCH_IN);
    target_ += Register(PITCH_OUT);
  }
  return Finish(host);
}

uint64_t CopyEngine::CopyPiece(Host& host, uint64_t limit) {
  const std::span<uint8_t> source = host.Resolve(source_ + line_done_, limit);
  const std::span<uint8_t> target = host.Resolve(target_ + line_done_, source.size());
  // Two addresses may lead to one piece of memory.
  if (!target.empty()) std::memmove(target.data(), source.data(), target.size());
  return target.size();
}

uint64_t CopyEngine::FillPiece(Host& host, uint64_t limit) {
  const std::span<uint8_t> target = host.Resolve(target_ + line_done_, limit);
  if (pattern_bytes_ == 1) {
    if (!target.empty()) std::memset(target.data(), pattern_[0], target.size());
  } else {
    for (size_t i = 0; i < target.size(); ++i) target[i] = pattern_[(line_done_ + i) % pattern_bytes_];
  }
  return target.size();
}

Fault CopyEngine::Finish(Host& host) {
  busy_ = false;
  const uint32_t type = SemaphoreType(launch_);
  if (type != kSemaphoreNone) {
    if (type != kSemaphoreOneWord && type != kSemaphoreFourWords) return Fault::kUnsupported;
    if ((launch_ & kReduction) != 0) return Fault::kUnsupported;
    const uint64_t payload =
        uint64_t{Register(SET_SEMAPHORE_PAYLOAD_UPPER)} << 32 | Register(SET_SEMAPHORE_PAYLOAD);
    const Fault fault = ReleaseSemaphore(host, Address(SET_SEMAPHORE_A), payload,
                                         (launch_ & kPayloadIsWide) != 0, type == kSemaphoreFourWords);
    if (fault != Fault::kNone) return fault;
  }
  if (InterruptType(launch_) != 0) host.Interrupt();
  return Fault::kNone;
}

}  // namespace nvshim::broker::sim::engine
