// Method numbers and fields of AMPERE_COMPUTE_A (clc6c0.h), the same on Ada and Hopper.
#include "broker/driver/sim/engine/compute_engine.h"

#include <algorithm>

#include "broker/driver/sim/engine/semaphore.h"

namespace nvshim::broker::sim::engine {
namespace {

constexpr uint32_t LINE_LENGTH_IN = 0x180, LINE_COUNT = 0x184, OFFSET_OUT_UPPER = 0x188, OFFSET_OUT = 0x18c,
                   LAUNCH_DMA = 0x1b0, LOAD_INLINE_DATA = 0x1b4, SEND_SIGNALING_PCAS_B = 0x2bc,
                   SEND_SIGNALING_PCAS2_B = 0x2c0, SET_REPORT_SEMAPHORE_A = 0x1b00,
                   SET_REPORT_SEMAPHORE_B = 0x1b04, SET_REPORT_SEMAPHORE_C = 0x1b08,
                   SET_REPORT_SEMAPHORE_D = 0x1b0c;

// LAUNCH_DMA
constexpr uint32_t kTargetIsPitch = 1 << 0, kInlineReduction = 1 << 1;
constexpr uint32_t InlineCompletion(uint32_t launch) { return (launch >> 4) & 3; }
constexpr uint32_t kCompletionSemaphore = 2;
// SET_REPORT_SEMAPHORE_D
constexpr uint32_t kOperationMask = 3, kOperationRelease = 0, kOperationTrap = 3, kReportReduction = 1 << 3,
                   kAwaken = 1 << 20, kOneWord = 1 << 28;
// SEND_SIGNALING_PCAS_B and PCAS2_B: which of them schedule a program.
constexpr uint32_t kPcasSchedule = 1 << 1;
constexpr uint32_t kActionNop = 0, kActionInvalidate = 1, kActionPrefetch = 8;

// LOAD_INLINE_QMD_DATA: the words of a program's descriptor; the last one starts it.
constexpr uint32_t kInlineQmdBegin = 0x320, kInlineQmdEnd = 0x420;

constexpr uint64_t kAddressUpperMask = 0x1ffff;

}  // namespace

Fault ComputeEngine::Method(Host& host, uint32_t method, uint32_t data) {
  switch (method) {
    case LINE_LENGTH_IN:
      line_length_ = data;
      return Fault::kNone;
    case LINE_COUNT:
      line_count_ = data;
      return Fault::kNone;
    case OFFSET_OUT_UPPER:
      target_ = (data & kAddressUpperMask) << 32 | (target_ & 0xffffffff);
      return Fault::kNone;
    case OFFSET_OUT:
      target_ = (target_ & ~uint64_t{0xffffffff}) | data;
      return Fault::kNone;
    case LAUNCH_DMA:
      return StartInline(data);
    case LOAD_INLINE_DATA:
      return InlineData(host, data);
    case SEND_SIGNALING_PCAS_B:
      return (data & kPcasSchedule) != 0 ? Fault::kShaderLaunch : Fault::kNone;
    case SEND_SIGNALING_PCAS2_B: {
      const uint32_t action = data & 0xf;
      const bool harmless = action == kActionNop || action == kActionInvalidate || action == kActionPrefetch;
      return harmless ? Fault::kNone : Fault::kShaderLaunch;
    }
    case SET_REPORT_SEMAPHORE_A:
      report_ = (data & kAddressUpperMask) << 32 | (report_ & 0xffffffff);
      return Fault::kNone;
    case SET_REPORT_SEMAPHORE_B:
      report_ = (report_ & ~uint64_t{0xffffffff}) | data;
      return Fault::kNone;
    case SET_REPORT_SEMAPHORE_C:
      report_payload_ = data;
      return Fault::kNone;
    case SET_REPORT_SEMAPHORE_D:
      return Report(host, data);
    default:
      return method >= kInlineQmdBegin && method < kInlineQmdEnd ? Fault::kShaderLaunch : Fault::kNone;
  }
}

Fault ComputeEngine::StartInline(uint32_t launch) {
  // Several lines would need to know how each is padded; clients send one.
  if ((launch & kTargetIsPitch) == 0) return Fault::kUnsupported;
  if ((launch & kInlineReduction) != 0 || line_count_ > 1) return Fault::kUnsupported;
  if (InlineCompletion(launch) == kCompletionSemaphore) return Fault::kUnsupported;
  inline_left_ = line_count_ == 0 ? 0 : line_length_;
  inline_at_ = target_;
  return Fault::kNone;
}

Fault ComputeEngine::InlineData(Host& host, uint32_t data) {
  const uint64_t size = std::min<uint64_t>(inline_left_, sizeof(data));
  if (!WriteMemory(host, inline_at_, &data, size)) return Fault::kBadAddress;
  inline_at_ += size;
  inline_left_ -= size;
  return Fault::kNone;
}

Fault ComputeEngine::Report(Host& host, uint32_t operation) {
  if ((operation & kOperationMask) == kOperationTrap) {
    host.Interrupt();
    return Fault::kNone;
  }
  if ((operation & kOperationMask) != kOperationRelease || (operation & kReportReduction) != 0)
    return Fault::kUnsupported;
  const Fault fault = ReleaseSemaphore(host, report_, report_payload_, false, (operation & kOneWord) == 0);
  if (fault == Fault::kNone && (operation & kAwaken) != 0) host.Interrupt();
  return fault;
}

}  // namespace nvshim::broker::sim::engine
