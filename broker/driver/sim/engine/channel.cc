// Formats of AMPERE_CHANNEL_GPFIFO_A (clc56f.h), the same on Ada and Hopper: GPFIFO entries, method headers,
// and the methods below 0x100, which are the host's own on every subchannel.
#include "broker/driver/sim/engine/channel.h"

#include <algorithm>

#include "broker/driver/sim/engine/semaphore.h"

namespace nvshim::broker::sim::engine {
namespace {

constexpr size_t kGpGet = 0x88, kGpPut = 0x8c;

// GP_ENTRY: address bits 39:2, then level, length in dwords, sync. With length 0 it is a control entry, its
// opcode in the upper word.
constexpr uint64_t EntryAddress(uint64_t entry) { return entry & 0xff'ffff'fffc; }
constexpr uint32_t EntryDwords(uint64_t entry) { return static_cast<uint32_t>(entry >> 42) & 0x1f'ffff; }
constexpr uint32_t EntryOpcode(uint64_t entry) { return static_cast<uint32_t>(entry >> 32) & 0xff; }
constexpr uint32_t kOpcodeNop = 0, kOpcodeSetPbSegmentExtendedBase = 4;
// Bits 56:40 of the addresses of all segments that follow (Hopper).
constexpr uint64_t ExtendedBase(uint64_t entry) { return (entry & 0x1ff'ff00) << 32; }

// Method headers
enum class Operation : uint32_t {
  kGroup0 = 0,  // subdevice masks; one GPU, so they do nothing
  kIncrementing = 1,
  kNonIncrementing = 3,
  kImmediate = 4,
  kIncrementOnce = 5,
  kEndSegment = 7,
};
constexpr uint32_t kForever = ~0u;

// Host methods
constexpr uint32_t kHostMethodsEnd = 0x100;
constexpr uint32_t SET_OBJECT = 0x0, NOP = 0x8, NON_STALL_INTERRUPT = 0x20, FB_FLUSH = 0x24, MEM_OP_A = 0x28,
                   MEM_OP_B = 0x2c, MEM_OP_C = 0x30, MEM_OP_D = 0x34, SET_REFERENCE = 0x50,
                   SEM_ADDR_LO = 0x5c, SEM_ADDR_HI = 0x60, SEM_PAYLOAD_LO = 0x64, SEM_PAYLOAD_HI = 0x68,
                   SEM_EXECUTE = 0x6c, WFI = 0x78, YIELD = 0x80;

// SEM_EXECUTE
enum class SemaphoreOperation : uint32_t {
  kAcquire = 0,
  kRelease = 1,
  kAcquireStrictGeq = 2,
  kAcquireCircularGeq = 3,
  kAcquireAnd = 4,
  kAcquireNor = 5,
  kReduction = 6,
};
constexpr uint32_t kWide = 1 << 24, kTimestamp = 1 << 25, kReductionUnsigned = 1u << 31;
constexpr uint32_t ReductionOperation(uint32_t execute) { return (execute >> 27) & 0xf; }

// Classes by their low byte: the generation is in the high one.
constexpr uint32_t kCopyClass = 0xb5, kComputeClass = 0xc0;

uint32_t* Word(std::span<uint8_t> userd, size_t offset) {
  return reinterpret_cast<uint32_t*>(userd.data() + offset);
}

}  // namespace

Channel::State Channel::Turn(Host& host, std::span<uint8_t> userd, Budget* budget) {
  while (fault_ == Fault::kNone) {
    if (budget->methods == 0) return State::kMore;
    if (stalled_) {
      fault_ = TryAcquire(host);
      if (stalled_) return State::kStalled;
      continue;
    }
    if (compute_.busy()) {
      --budget->methods;
      progress_ = true;
      fault_ = compute_.Continue(host);
      continue;
    }
    if (copy_.busy()) {
      if (budget->bytes == 0) return State::kMore;
      progress_ = true;
      fault_ = copy_.Continue(host, &budget->bytes);
      continue;
    }
    --budget->methods;
    if (fetched_at_ == fetched_end_ && segment_left_ == 0) {
      bool idle = false;
      fault_ = NextEntry(host, userd, &idle);
      if (idle) return State::kIdle;
      continue;
    }
    fault_ = Step(host);
  }
  return State::kFaulted;
}

// Takes the next entry of the ring. The guest learns that an entry is done when the one after it is taken, or
// asked for.
Fault Channel::NextEntry(Host& host, std::span<uint8_t> userd, bool* idle) {
  __atomic_store_n(Word(userd, kGpGet), get_, __ATOMIC_RELEASE);
  const uint32_t put = __atomic_load_n(Word(userd, kGpPut), __ATOMIC_ACQUIRE);
  *idle = put == get_;
  if (*idle) return Fault::kNone;
  if (put >= entries_) return Fault::kBadPushbuffer;
  uint64_t entry;
  if (!ReadMemory(host, fifo_address_ + uint64_t{get_} * sizeof(entry), &entry, sizeof(entry)))
    return Fault::kBadAddress;
  get_ = get_ + 1 == entries_ ? 0 : get_ + 1;
  progress_ = true;
  segment_address_ = extended_base_ | EntryAddress(entry);
  segment_left_ = EntryDwords(entry);
  if (segment_left_ != 0 || EntryOpcode(entry) == kOpcodeNop) return Fault::kNone;
  if (EntryOpcode(entry) != kOpcodeSetPbSegmentExtendedBase) return Fault::kBadPushbuffer;
  extended_base_ = ExtendedBase(entry);
  return Fault::kNone;
}

Fault Channel::NextDword(Host& host, uint32_t* dword) {
  if (fetched_at_ == fetched_end_) {
    const uint32_t count = std::min(segment_left_, kFetchDwords);
    if (!ReadMemory(host, segment_address_, fetched_.data(), count * sizeof(uint32_t)))
      return Fault::kBadAddress;
    segment_address_ += count * sizeof(uint32_t);
    segment_left_ -= count;
    fetched_at_ = 0;
    fetched_end_ = count;
  }
  *dword = fetched_[fetched_at_++];
  return Fault::kNone;
}

Fault Channel::Step(Host& host) {
  uint32_t dword;
  if (const Fault fault = NextDword(host, &dword); fault != Fault::kNone) return fault;
  if (data_left_ == 0) return Header(host, dword);
  --data_left_;
  const uint32_t method = method_;
  if (increments_left_ != 0) {
    method_ += sizeof(uint32_t);
    --increments_left_;
  }
  return Method(host, method, dword);
}

Fault Channel::Header(Host& host, uint32_t header) {
  const uint32_t argument = (header >> 16) & 0x1fff;
  method_ = (header & 0xfff) * sizeof(uint32_t);
  subchannel_ = (header >> 13) & (kSubchannels - 1);
  switch (static_cast<Operation>(header >> 29)) {
    case Operation::kGroup0:
      return Fault::kNone;
    case Operation::kIncrementing:
      data_left_ = argument;
      increments_left_ = kForever;
      return Fault::kNone;
    case Operation::kNonIncrementing:
      data_left_ = argument;
      increments_left_ = 0;
      return Fault::kNone;
    case Operation::kIncrementOnce:
      data_left_ = argument;
      increments_left_ = 1;
      return Fault::kNone;
    case Operation::kImmediate:
      return Method(host, method_, argument);
    case Operation::kEndSegment:
      fetched_at_ = fetched_end_;
      segment_left_ = 0;
      return Fault::kNone;
    default:
      fault_data_ = header;
      return Fault::kBadPushbuffer;
  }
}

Fault Channel::Method(Host& host, uint32_t method, uint32_t data) {
  const uint32_t class_number = classes_[subchannel_];
  Fault fault;
  if (method < kHostMethodsEnd)
    fault = HostMethod(host, method, data);
  else if ((class_number & 0xff) == kCopyClass)
    fault = copy_.Method(host, method, data);
  else if ((class_number & 0xff) == kComputeClass)
    fault = compute_.Method(host, class_number, method, data);
  else
    fault = Fault::kUnknownClass;
  if (fault != Fault::kNone) {
    fault_class_ = class_number;
    fault_method_ = method;
    fault_data_ = data;
  }
  return fault;
}

Fault Channel::HostMethod(Host& host, uint32_t method, uint32_t data) {
  switch (method) {
    case SET_OBJECT:
      classes_[subchannel_] = data & 0xffff;
      return Fault::kNone;
    case SEM_ADDR_LO:
      semaphore_ = (semaphore_ & ~uint64_t{0xffffffff}) | (data & ~3u);
      return Fault::kNone;
    case SEM_ADDR_HI:
      // 57 bits on Hopper, and no more on others.
      semaphore_ = uint64_t{data & 0x1ff'ffff} << 32 | (semaphore_ & 0xffffffff);
      return Fault::kNone;
    case SEM_PAYLOAD_LO:
      payload_ = (payload_ & ~uint64_t{0xffffffff}) | data;
      return Fault::kNone;
    case SEM_PAYLOAD_HI:
      payload_ = uint64_t{data} << 32 | (payload_ & 0xffffffff);
      return Fault::kNone;
    case SEM_EXECUTE:
      return SemaphoreExecute(host, data);
    case NON_STALL_INTERRUPT:
      host.Interrupt();
      return Fault::kNone;
    // Order and caches: methods are executed one after the other, on coherent memory.
    case NOP:
    case FB_FLUSH:
    case MEM_OP_A:
    case MEM_OP_B:
    case MEM_OP_C:
    case MEM_OP_D:
    case SET_REFERENCE:
    case WFI:
    case YIELD:
      return Fault::kNone;
    default:
      return Fault::kUnsupported;
  }
}

Fault Channel::SemaphoreExecute(Host& host, uint32_t execute) {
  switch (static_cast<SemaphoreOperation>(execute & 7)) {
    case SemaphoreOperation::kRelease:
      return ReleaseSemaphore(host, {.address = semaphore_,
                                     .payload = payload_,
                                     .wide = (execute & kWide) != 0,
                                     .timestamp = (execute & kTimestamp) != 0});
    case SemaphoreOperation::kReduction:
      if (ReductionOperation(execute) > static_cast<uint32_t>(Reduction::kDecrement))
        return Fault::kUnsupported;
      return ReleaseSemaphore(host, {.address = semaphore_,
                                     .payload = payload_,
                                     .wide = (execute & kWide) != 0,
                                     .reduces = true,
                                     .reduction = static_cast<Reduction>(ReductionOperation(execute)),
                                     .is_signed = (execute & kReductionUnsigned) == 0});
    case SemaphoreOperation::kAcquire:
    case SemaphoreOperation::kAcquireStrictGeq:
    case SemaphoreOperation::kAcquireCircularGeq:
    case SemaphoreOperation::kAcquireAnd:
    case SemaphoreOperation::kAcquireNor:
      acquire_ = execute;
      stalled_ = true;  // until it is there, which it may be already
      return Fault::kNone;
    default:
      return Fault::kUnsupported;
  }
}

Fault Channel::TryAcquire(Host& host) {
  const bool wide = (acquire_ & kWide) != 0;
  uint64_t value;
  if (const Fault fault = ReadSemaphore(host, semaphore_, wide, &value); fault != Fault::kNone) {
    stalled_ = false;
    return fault;
  }
  const uint64_t wanted = wide ? payload_ : payload_ & 0xffffffff;
  const uint64_t ahead = wide ? value - wanted : uint64_t{static_cast<uint32_t>(value - wanted)};
  bool acquired = false;
  switch (static_cast<SemaphoreOperation>(acquire_ & 7)) {
    case SemaphoreOperation::kAcquire:
      acquired = value == wanted;
      break;
    case SemaphoreOperation::kAcquireStrictGeq:
      acquired = value >= wanted;
      break;
    case SemaphoreOperation::kAcquireCircularGeq:
      acquired = ahead < (wide ? uint64_t{1} << 63 : uint64_t{1} << 31);
      break;
    case SemaphoreOperation::kAcquireNor:
      acquired = (~(value | wanted) & (wide ? UINT64_MAX : UINT32_MAX)) != 0;
      break;
    default:
      acquired = (value & wanted) != 0;
      break;
  }
  stalled_ = !acquired;
  progress_ |= acquired;
  return Fault::kNone;
}

}  // namespace nvshim::broker::sim::engine
