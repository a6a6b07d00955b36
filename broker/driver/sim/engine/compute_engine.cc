// Method numbers and fields of AMPERE_COMPUTE_A (clc6c0.h), the same on Ada and Hopper, and those that
// HOPPER_COMPUTE_A (clcbc0.h) adds.
#include "broker/driver/sim/engine/compute_engine.h"

#include <algorithm>

#include "broker/driver/sim/engine/semaphore.h"

namespace nvshim::broker::sim::engine {
namespace {

constexpr uint32_t LINE_LENGTH_IN = 0x180, LINE_COUNT = 0x184, OFFSET_OUT_UPPER = 0x188, OFFSET_OUT = 0x18c,
                   LAUNCH_DMA = 0x1b0, LOAD_INLINE_DATA = 0x1b4, SEND_PCAS_A = 0x2b4,
                   SEND_SIGNALING_PCAS_B = 0x2bc, SEND_SIGNALING_PCAS2_B = 0x2c0,
                   SET_INLINE_QMD_ADDRESS_A = 0x318, SET_INLINE_QMD_ADDRESS_B = 0x31c,
                   SET_REPORT_SEMAPHORE_A = 0x1b00, SET_REPORT_SEMAPHORE_B = 0x1b04,
                   SET_REPORT_SEMAPHORE_C = 0x1b08, SET_REPORT_SEMAPHORE_D = 0x1b0c;
// Hopper's
constexpr uint32_t SET_REPORT_SEMAPHORE_PAYLOAD_LOWER = 0x158, SET_REPORT_SEMAPHORE_PAYLOAD_UPPER = 0x15c,
                   SET_REPORT_SEMAPHORE_ADDRESS_LOWER = 0x160, SET_REPORT_SEMAPHORE_ADDRESS_UPPER = 0x164,
                   REPORT_SEMAPHORE_EXECUTE = 0x168;
// Work on a condition, and what would write to memory: known, not simulated.
constexpr uint32_t NOTIFY = 0x10c, SET_RENDER_ENABLE_C = 0x1558, SET_GLOBAL_RENDER_ENABLE_C = 0x138,
                   MME_DMA_WRITE = 0x564, MME_DMA_REDUCTION = 0x568, CALL_MME_MACRO = 0x3800,
                   CALL_MME_END = 0x4000;

// LAUNCH_DMA
constexpr uint32_t kTargetIsPitch = 1 << 0, kInlineReduction = 1 << 1;
constexpr uint32_t InlineCompletion(uint32_t launch) { return (launch >> 4) & 3; }
constexpr uint32_t kCompletionSemaphore = 2;
// SET_REPORT_SEMAPHORE_D and REPORT_SEMAPHORE_EXECUTE
constexpr uint32_t kOperationMask = 3, kOperationRelease = 0, kOperationTrap = 3;
constexpr uint32_t kFormatSigned = 1;  // of a reduction's payload; 0 is unsigned, the others floating point
constexpr uint32_t kReportReduction = 1 << 3, kConditionalTrap = 1 << 19, kAwaken = 1 << 20,
                   kOneWord = 1 << 28;
constexpr uint32_t kWideAwaken = 1 << 2, kWideStructureMask = 3 << 3, kWideReduction = 1 << 6,
                   kWidePayload = 1 << 12, kWideTrapMask = 3 << 13, kWideTrapUnconditional = 1 << 13;
// SEND_SIGNALING_PCAS_B and PCAS2_B: which of them schedule a program.
constexpr uint32_t kPcasSchedule = 1 << 1;
// LOAD_INLINE_QMD_DATA: the words of a program's descriptor; the last one starts it.
constexpr uint32_t kInlineQmdBegin = 0x320, kInlineQmdEnd = kInlineQmdBegin + 4 * kOldQmdWords;

// DEPENDENT_QMD_ACTION
constexpr uint32_t kDependentSchedule = 1, kDependentInvalidateCopySchedule = 3,
                   kDependentDecrementDependence = 4;

void SetUpper(uint64_t* address, uint64_t upper) { *address = upper << 32 | (*address & 0xffff'ffff); }
void SetLower(uint64_t* address, uint32_t lower) { *address = (*address & ~uint64_t{0xffff'ffff}) | lower; }

}  // namespace

Fault ComputeEngine::Method(Host& host, uint32_t class_number, uint32_t method, uint32_t data) {
  class_ = class_number;
  switch (method) {
    case LINE_LENGTH_IN:
      line_length_ = data;
      return Fault::kNone;
    case LINE_COUNT:
      line_count_ = data;
      return Fault::kNone;
    case OFFSET_OUT_UPPER:
      SetUpper(&target_, data & kAddressUpperMask);
      return Fault::kNone;
    case OFFSET_OUT:
      SetLower(&target_, data);
      return Fault::kNone;
    case LAUNCH_DMA:
      return StartInline(data);
    case LOAD_INLINE_DATA:
      return InlineData(host, data);
    case SEND_PCAS_A:
      qmd_address_ = uint64_t{data} << 8;
      return Fault::kNone;
    case SEND_SIGNALING_PCAS_B:
      return (data & kPcasSchedule) != 0 ? Act(host, qmd_address_, PcasAction::kSchedule) : Fault::kNone;
    case SEND_SIGNALING_PCAS2_B:
      return Act(host, qmd_address_, static_cast<PcasAction>(data & 0xf));
    case SET_INLINE_QMD_ADDRESS_A:
      inline_qmd_address_ = uint64_t{data} << 40 | (inline_qmd_address_ & 0xff'ffff'ffff);
      return Fault::kNone;
    case SET_INLINE_QMD_ADDRESS_B:
      inline_qmd_address_ = (inline_qmd_address_ & ~uint64_t{0xff'ffff'ffff}) | uint64_t{data} << 8;
      return Fault::kNone;
    case SET_REPORT_SEMAPHORE_A:
      SetUpper(&report_, data & kAddressUpperMask);
      return Fault::kNone;
    case SET_REPORT_SEMAPHORE_B:
      SetLower(&report_, data);
      return Fault::kNone;
    case SET_REPORT_SEMAPHORE_C:
      report_payload_ = data;
      return Fault::kNone;
    case SET_REPORT_SEMAPHORE_D:
      return Report(host, data);
    case SET_REPORT_SEMAPHORE_PAYLOAD_LOWER:
      SetLower(&wide_report_payload_, data);
      return Fault::kNone;
    case SET_REPORT_SEMAPHORE_PAYLOAD_UPPER:
      SetUpper(&wide_report_payload_, data);
      return Fault::kNone;
    case SET_REPORT_SEMAPHORE_ADDRESS_LOWER:
      SetLower(&wide_report_, data);
      return Fault::kNone;
    case SET_REPORT_SEMAPHORE_ADDRESS_UPPER:
      SetUpper(&wide_report_, data & kAddressUpperMask);
      return Fault::kNone;
    case REPORT_SEMAPHORE_EXECUTE:
      return WideReport(host, data);
    case SET_RENDER_ENABLE_C:
    case SET_GLOBAL_RENDER_ENABLE_C:
      return data == 1 ? Fault::kNone : Fault::kUnsupported;
    case NOTIFY:
    case MME_DMA_WRITE:
    case MME_DMA_REDUCTION:
      return Fault::kUnsupported;
    default:
      if (method >= kInlineQmdBegin && method < kInlineQmdEnd)
        return InlineQmdWord(host, (method - kInlineQmdBegin) / 4, data);
      return method >= CALL_MME_MACRO && method < CALL_MME_END ? Fault::kUnsupported : Fault::kNone;
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
  if ((operation & kConditionalTrap) != 0) return Fault::kUnsupported;
  return Report(host, operation & kOperationMask, operation >> 17 & 3,
                {.address = report_,
                 .payload = report_payload_,
                 .timestamp = (operation & kOneWord) == 0,
                 .reduces = (operation & kReportReduction) != 0,
                 .reduction = ComputeReduction(operation >> 9)},
                (operation & kAwaken) != 0);
}

Fault ComputeEngine::WideReport(Host& host, uint32_t execute) {
  const uint32_t trap = execute & kWideTrapMask;
  if (trap != 0 && trap != kWideTrapUnconditional) return Fault::kUnsupported;
  return Report(host, execute & kOperationMask, execute >> 10 & 3,
                {.address = wide_report_,
                 .payload = wide_report_payload_,
                 .wide = (execute & kWidePayload) != 0,
                 .timestamp = (execute & kWideStructureMask) == 0,
                 .reduces = (execute & kWideReduction) != 0,
                 .reduction = ComputeReduction(execute >> 7)},
                (execute & kWideAwaken) != 0 || trap != 0);
}

Fault ComputeEngine::Report(Host& host, uint32_t operation, uint32_t format, Release release,
                            bool interrupts) {
  if (operation == kOperationTrap) {
    host.Interrupt();
    return Fault::kNone;
  }
  if (operation != kOperationRelease || format > kFormatSigned) return Fault::kUnsupported;
  release.is_signed = format == kFormatSigned;
  const Fault fault = ReleaseSemaphore(host, release);
  if (fault == Fault::kNone && interrupts) host.Interrupt();
  return fault;
}

// The last word puts the descriptor where it belongs and starts it.
Fault ComputeEngine::InlineQmdWord(Host& host, uint32_t word, uint32_t data) {
  inline_qmd_[word] = data;
  if (word + 1 != kOldQmdWords) return Fault::kNone;
  if (!WriteMemory(host, inline_qmd_address_, inline_qmd_.data(), sizeof(inline_qmd_)))
    return Fault::kBadAddress;
  return Act(host, inline_qmd_address_, PcasAction::kInvalidateCopySchedule);
}

// The header names the actions; what they do to the two things that a descriptor waits for is read off from
// how libcuda builds graphs: it puts the nodes there from the last to the first, all but the first with
// REQUIRE_SCHEDULING_PCAS, and each node schedules the next.
Fault ComputeEngine::Act(Host& host, uint64_t address, PcasAction action) {
  if (action == PcasAction::kNop || action == PcasAction::kInvalidate || action == PcasAction::kPrefetch)
    return Fault::kNone;
  QmdWords words{};
  if (!ReadMemory(host, address, words.data(), kOldQmdWords * sizeof(uint32_t))) return Fault::kBadAddress;
  if (QmdVersion(words) >= 0x40 && !ReadMemory(host, address, words.data(), sizeof(words)))
    return Fault::kBadAddress;
  Qmd qmd;
  if (const Fault fault = ParseQmd(words, &qmd); fault != Fault::kNone)
    return !host.Launch({class_, qmd.version, qmd.program}) ? Fault::kShaderLaunch : fault;
  switch (action) {
    case PcasAction::kSchedule:
    case PcasAction::kPrefetchSchedule:
      qmd.wait.schedule = false;
      break;
    case PcasAction::kInvalidateCopySchedule:
    case PcasAction::kInvalidatePrefetchCopySchedule:
      qmd.wait = qmd.wait_anew;
      break;
    case PcasAction::kInvalidatePrefetchCopyForceRequireScheduling:
      qmd.wait = {qmd.wait_anew.counter, true};
      break;
    case PcasAction::kDecrementDependence:
      if (qmd.wait.counter != 0) --qmd.wait.counter;
      break;
    case PcasAction::kIncrementDependence:
      ++qmd.wait.counter;
      break;
    default:
      return Fault::kUnsupported;
  }
  if (qmd.wait.over()) return Launch(host, address, qmd);
  return StoreQmdWait(host, address, qmd);
}

Fault ComputeEngine::Launch(Host& host, uint64_t address, Qmd& qmd) {
  if (qmd.runs_program && !host.Launch({class_, qmd.version, qmd.program})) return Fault::kShaderLaunch;
  if (qmd.copies_wait_when_done) qmd.wait = qmd.wait_anew;
  if (const Fault fault = StoreQmdWait(host, address, qmd); fault != Fault::kNone) return fault;
  return Complete(host, qmd);
}

// What a program's end brings about.
Fault ComputeEngine::Complete(Host& host, const Qmd& qmd) {
  for (const Qmd::Completion& completion : qmd.completions) {
    if (!completion.enabled) continue;
    if (const Fault fault = ReleaseSemaphore(host, completion.release); fault != Fault::kNone) return fault;
    if (completion.interrupt) host.Interrupt();
  }
  for (const Qmd::Dependent& dependent : qmd.dependents) {
    if (!dependent.enabled) continue;
    PcasAction action;
    switch (dependent.action) {
      case kDependentSchedule:
        action = PcasAction::kSchedule;
        break;
      case kDependentInvalidateCopySchedule:
        action = PcasAction::kInvalidateCopySchedule;
        break;
      case kDependentDecrementDependence:
        action = PcasAction::kDecrementDependence;
        break;
      default:
        return Fault::kUnsupported;
    }
    if (waiting_count_ == waiting_.size()) return Fault::kUnsupported;
    waiting_[waiting_count_++] = {dependent.address, action};
  }
  return Fault::kNone;
}

Fault ComputeEngine::Continue(Host& host) {
  const Waiting next = waiting_[--waiting_count_];
  return Act(host, next.address, next.action);
}

}  // namespace nvshim::broker::sim::engine
