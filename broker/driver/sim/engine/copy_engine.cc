// Method numbers and fields of HOPPER_DMA_COPY_A (clc8b5.h); those of Ampere and Ada have the same but for
// the wider addresses and the origins of 32 bits.
#include "broker/driver/sim/engine/copy_engine.h"

#include <algorithm>
#include <cstring>

#include "broker/driver/sim/engine/semaphore.h"

namespace nvshim::broker::sim::engine {
namespace {

constexpr uint32_t SET_SEMAPHORE_A = 0x240, SET_SEMAPHORE_PAYLOAD = 0x248,
                   SET_SEMAPHORE_PAYLOAD_UPPER = 0x24c, SET_RENDER_ENABLE_C = 0x25c, LAUNCH_DMA = 0x300,
                   OFFSET_IN_UPPER = 0x400, OFFSET_OUT_UPPER = 0x408, PITCH_IN = 0x410, PITCH_OUT = 0x414,
                   LINE_LENGTH_IN = 0x418, LINE_COUNT = 0x41c, SET_REMAP_CONST_A = 0x700,
                   SET_REMAP_CONST_B = 0x704, SET_REMAP_COMPONENTS = 0x708, SET_DST_BLOCK_SIZE = 0x70c,
                   SET_DST_ORIGIN = 0x720, SET_SRC_BLOCK_SIZE = 0x728, SET_SRC_ORIGIN = 0x73c,
                   SRC_ORIGIN_X = 0x744, SRC_ORIGIN_Y = 0x748, DST_ORIGIN_X = 0x74c, DST_ORIGIN_Y = 0x750;

// From SET_*_BLOCK_SIZE on.
constexpr uint32_t kWidth = 4, kHeight = 8, kLayer = 16;

// LAUNCH_DMA
constexpr uint32_t kTransferTypeMask = 0x3;
constexpr uint32_t kSourceIsPitch = 1 << 7, kTargetIsPitch = 1 << 8, kMultiLine = 1 << 9, kRemap = 1 << 10,
                   kSourcePhysical = 1 << 12, kTargetPhysical = 1 << 13, kReduction = 1 << 19,
                   kPayloadIsWide = 1 << 27;
// Encryption, protected regions, scrubbing.
constexpr uint32_t kNotSimulated = 1 << 21 | 3 << 22;
constexpr uint32_t SemaphoreType(uint32_t launch) { return (launch >> 3) & 3; }
constexpr uint32_t kSemaphoreNone = 0, kSemaphoreOneWord = 1, kSemaphoreFourWords = 2;
constexpr uint32_t InterruptType(uint32_t launch) { return (launch >> 5) & 3; }
constexpr uint32_t ReductionOperation(uint32_t launch) { return (launch >> 14) & 0xf; }
constexpr uint32_t kReductionUnsigned = 1 << 18;

// SET_REMAP_COMPONENTS: what each component of an element of the target is made of; below 4 a component of
// the source.
constexpr uint32_t kSelectConstA = 4, kSelectConstB = 5, kSelectNoWrite = 6;

// SET_*_BLOCK_SIZE
constexpr uint32_t kBlockLog2Max = 5, kGobHeightFermi8 = 1;

// A line costs about as much as this many bytes, however short it is, and so does a piece of one.
constexpr uint64_t kPieceCostBytes = 64;

}  // namespace

uint64_t CopyEngine::Address(uint32_t upper_method) const {
  return uint64_t{Register(upper_method) & kAddressUpperMask} << 32 | Register(upper_method + 4);
}

uint64_t CopyEngine::Side::Address(uint64_t byte, uint64_t line, uint64_t* run) const {
  *run = UINT64_MAX;
  if (!block_linear) return base + line * pitch + byte;
  *run = BlockLinear::kRunBytes - (x + byte) % BlockLinear::kRunBytes;
  return base + image.Offset(x + byte, y + line, z);
}

Fault CopyEngine::Method(Host& host, uint32_t method, uint32_t data) {
  if (method >= kRegistersEnd) return Fault::kNone;  // state of features that are not simulated
  registers_[method / 4] = data;
  switch (method) {
    case SET_SRC_ORIGIN:  // both in one register, the older way
      registers_[SRC_ORIGIN_X / 4] = data & 0xffff;
      registers_[SRC_ORIGIN_Y / 4] = data >> 16;
      return Fault::kNone;
    case SET_DST_ORIGIN:
      registers_[DST_ORIGIN_X / 4] = data & 0xffff;
      registers_[DST_ORIGIN_Y / 4] = data >> 16;
      return Fault::kNone;
    case SET_RENDER_ENABLE_C:  // copies on a condition
      return data == 1 ? Fault::kNone : Fault::kUnsupported;
    case LAUNCH_DMA:
      return Launch(host, data);
    default:
      return Fault::kNone;
  }
}

Fault CopyEngine::Launch(Host& host, uint32_t launch) {
  launch_ = launch;
  busy_ = true;
  line_ = lines_ = line_done_ = 0;
  if ((launch & kNotSimulated) != 0) return Fault::kUnsupported;
  if ((launch & kTransferTypeMask) == 0) return Finish(host);
  if ((launch & (kSourcePhysical | kTargetPhysical)) != 0) return Fault::kUnsupported;
  line_bytes_ = Register(LINE_LENGTH_IN);
  kind_ = Kind::kCopy;
  if ((launch & kRemap) != 0)
    if (const Fault fault = StartRemap(); fault != Fault::kNone) return fault;
  Fault fault =
      StartSide(SET_DST_BLOCK_SIZE, OFFSET_OUT_UPPER, PITCH_OUT, (launch & kTargetIsPitch) != 0, &target_);
  if (fault == Fault::kNone && kind_ != Kind::kFill)
    fault =
        StartSide(SET_SRC_BLOCK_SIZE, OFFSET_IN_UPPER, PITCH_IN, (launch & kSourceIsPitch) != 0, &source_);
  if (fault != Fault::kNone) return fault;
  if (line_bytes_ != 0) lines_ = (launch & kMultiLine) != 0 ? Register(LINE_COUNT) : 1;
  return Fault::kNone;
}

Fault CopyEngine::StartSide(uint32_t surface_methods, uint32_t address_methods, uint32_t pitch_method,
                            bool linear, Side* side) const {
  *side = {.base = Address(address_methods), .pitch = Register(pitch_method)};
  if (linear) return Fault::kNone;
  // Whether the numbers below count elements or bytes when elements are remapped: nobody here knows.
  if ((launch_ & kRemap) != 0) return Fault::kUnsupported;
  const uint32_t block = Register(surface_methods);
  const bool is_source = surface_methods == SET_SRC_BLOCK_SIZE;
  side->block_linear = true;
  side->image = {.block_width = block & 0xf,
                 .block_height = (block >> 4) & 0xf,
                 .block_depth = (block >> 8) & 0xf,
                 .width = Register(surface_methods + kWidth),
                 .height = Register(surface_methods + kHeight)};
  side->x = Register(is_source ? SRC_ORIGIN_X : DST_ORIGIN_X);
  side->y = Register(is_source ? SRC_ORIGIN_Y : DST_ORIGIN_Y);
  side->z = Register(surface_methods + kLayer);
  const bool known = side->image.block_width <= kBlockLog2Max && side->image.block_height <= kBlockLog2Max &&
                     side->image.block_depth <= kBlockLog2Max && (block >> 12 & 0xf) == kGobHeightFermi8;
  return known ? Fault::kNone : Fault::kUnsupported;
}

Fault CopyEngine::StartRemap() {
  const uint32_t components = Register(SET_REMAP_COMPONENTS);
  remap_.component_bytes = ((components >> 16) & 3) + 1;
  remap_.source_components = ((components >> 20) & 3) + 1;
  remap_.target_components = ((components >> 24) & 3) + 1;
  kind_ = Kind::kFill;
  for (uint32_t i = 0; i < remap_.target_components; ++i) {
    const uint32_t select = (components >> (4 * i)) & 7;
    remap_.selects[i] = static_cast<uint8_t>(select);
    if (select > kSelectNoWrite || (select < kSelectConstA && select >= remap_.source_components))
      return Fault::kUnsupported;
    if (select != kSelectConstA && select != kSelectConstB) kind_ = Kind::kRemap;
    const uint32_t value = Register(select == kSelectConstB ? SET_REMAP_CONST_B : SET_REMAP_CONST_A);
    std::memcpy(pattern_.data() + i * remap_.component_bytes, &value, remap_.component_bytes);
  }
  line_bytes_ *= remap_.target_bytes();  // the length counts elements; 2^32 of 16 bytes fit
  return Fault::kNone;
}

Fault CopyEngine::Continue(Host& host, uint64_t* bytes) {
  while (line_ != lines_) {
    if (*bytes == 0) return Fault::kNone;
    const uint64_t limit = std::min(*bytes, line_bytes_ - line_done_);
    const uint64_t done = kind_ == Kind::kCopy   ? CopyPiece(host, limit)
                          : kind_ == Kind::kFill ? FillPiece(host, limit)
                                                 : RemapPiece(host, limit);
    if (done == 0) return Fault::kBadAddress;
    *bytes -= std::min(*bytes, std::max(done, kPieceCostBytes));
    line_done_ += done;
    if (line_done_ != line_bytes_) continue;
    ++line_;
    line_done_ = 0;
  }
  return Finish(host);
}

uint64_t CopyEngine::CopyPiece(Host& host, uint64_t limit) {
  uint64_t source_run, target_run;
  const uint64_t from = source_.Address(line_done_, line_, &source_run);
  const uint64_t to = target_.Address(line_done_, line_, &target_run);
  const std::span<uint8_t> source = host.Resolve(from, std::min({limit, source_run, target_run}));
  const std::span<uint8_t> target = host.Resolve(to, source.size());
  // Two addresses may lead to one piece of memory.
  if (!target.empty()) std::memmove(target.data(), source.data(), target.size());
  return target.size();
}

uint64_t CopyEngine::FillPiece(Host& host, uint64_t limit) {
  uint64_t run;
  const std::span<uint8_t> target = host.Resolve(target_.Address(line_done_, line_, &run), limit);
  const size_t period = remap_.target_bytes();
  if (target.empty()) return 0;
  if (period == 1) {
    std::memset(target.data(), pattern_[0], target.size());
    return target.size();
  }
  // The first element by hand, the others from those before them.
  const size_t first = std::min(period, target.size());
  for (size_t i = 0; i < first; ++i) target[i] = pattern_[(line_done_ + i) % period];
  for (size_t done = first; done < target.size();) {
    const size_t more = std::min(done, target.size() - done);
    std::memcpy(target.data() + done, target.data(), more);
    done += more;
  }
  return target.size();
}

// One element: its components come from the source, from constants, or stay as they are.
uint64_t CopyEngine::RemapPiece(Host& host, uint64_t /*limit*/) {
  const uint64_t element = line_done_ / remap_.target_bytes();
  uint64_t run;
  std::array<uint8_t, 16> source{};
  const uint64_t from = source_.Address(element * remap_.source_bytes(), line_, &run);
  if (!ReadMemory(host, from, source.data(), remap_.source_bytes())) return 0;
  for (uint32_t i = 0; i < remap_.target_components; ++i) {
    const uint32_t select = remap_.selects[i];
    if (select == kSelectNoWrite) continue;
    const uint8_t* value = select < kSelectConstA ? source.data() + select * remap_.component_bytes
                                                  : pattern_.data() + i * remap_.component_bytes;
    const uint64_t to = target_.Address(line_done_ + i * remap_.component_bytes, line_, &run);
    if (!WriteMemory(host, to, value, remap_.component_bytes)) return 0;
  }
  return remap_.target_bytes();
}

Fault CopyEngine::Finish(Host& host) {
  busy_ = false;
  const uint32_t type = SemaphoreType(launch_);
  if (type != kSemaphoreNone) {
    if (type != kSemaphoreOneWord && type != kSemaphoreFourWords) return Fault::kUnsupported;
    const uint32_t reduction = ReductionOperation(launch_);
    const Release release{
        .address = Address(SET_SEMAPHORE_A),
        .payload = uint64_t{Register(SET_SEMAPHORE_PAYLOAD_UPPER)} << 32 | Register(SET_SEMAPHORE_PAYLOAD),
        .wide = (launch_ & kPayloadIsWide) != 0,
        .timestamp = type == kSemaphoreFourWords,
        .reduces = (launch_ & kReduction) != 0,
        .reduction = static_cast<Reduction>(reduction & 7),
        .is_signed = (launch_ & kReductionUnsigned) == 0};
    if (release.reduces && reduction > static_cast<uint32_t>(Reduction::kDecrement))
      return Fault::kUnsupported;  // floating point
    if (const Fault fault = ReleaseSemaphore(host, release); fault != Fault::kNone) return fault;
  }
  if (InterruptType(launch_) != 0) host.Interrupt();
  return Fault::kNone;
}

}  // namespace nvshim::broker::sim::engine
