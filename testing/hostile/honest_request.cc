#include "testing/hostile/honest_request.h"

#include <algorithm>

namespace nvshim::testing {

using broker::DeviceClass;
using broker::Put;

namespace {

constexpr uint32_t kAlloc = 0x2b, kControl = 0x2a, kVidHeap = 0x4a;  // escapes
constexpr uint32_t kHeapInfo = 5;                                    // NVOS32_FUNCTION_INFO
constexpr uint32_t kFunctionOffset = 8;                              // of NVOS32
constexpr uint32_t kMemorySystem = 0x3e, kDevice = 0x80;             // classes
constexpr uint32_t kProbedIds = 0x214;                               // a control without fields
constexpr uint32_t kObject = 0x5c000001;                             // that nobody has

bool IsClientClass(uint32_t rm_class) { return rm_class == 0 || rm_class == 1 || rm_class == 0x41; }

// Fills the fields of `spec` in `segment`; the counts of all pointers first, since several may share one.
void Fill(HonestRequest& request, const abi::Spec& spec, uint32_t segment, const Belongings& own) {
  for (uint16_t offset : spec.clients) Put<uint32_t>(request.call.Bytes(segment), offset, own.client);
  if (spec.share_policy_offset != abi::kNone) {
    const auto policy = request.call.Bytes(segment).subspan(spec.share_policy_offset);
    Put<uint32_t>(policy, abi::share_policy::kTarget, own.client);
    Put<uint16_t>(policy, abi::share_policy::kType, abi::share_policy::kTypeClient);
  }
  for (const abi::Pointer& pointer : spec.pointers)
    if (pointer.count_offset != abi::kNone)
      Put<uint32_t>(request.call.Bytes(segment), pointer.count_offset, 1);
  for (const abi::Pointer& pointer : spec.pointers)
    if (pointer.direction != abi::Direction::kNull)
      request.Add(pointer.element_size, segment, pointer.offset);
  for (const abi::FdField& fd : spec.fds) {
    if (fd.use == abi::FdUse::kCookie) continue;
    const bool of_gpu = fd.use == abi::FdUse::kMapping;
    const uint32_t file = request.on == DeviceClass::kUvm ? own.uvm : of_gpu ? own.gpu : own.ctl;
    request.files.push_back({segment, fd.offset, file});
  }
}

void AddNested(HonestRequest& request, const abi::Spec& nested, const Belongings& own) {
  const uint32_t size_bytes = nested.size != 0 ? nested.size : nested.size_max;
  if (size_bytes == 0) return;
  request.Add(size_bytes, 0, abi::nvos54::kParams);
  Fill(request, nested, static_cast<uint32_t>(request.call.segments.size()) - 1, own);
}

HonestRequest Escape(const abi::Table& table, const abi::Spec& spec, const abi::Spec* nested,
                     const Belongings& own) {
  HonestRequest request;
  request.call.command = abi::EscapeCommand(spec.number, spec.size);
  request.status_offset = spec.status_offset;
  if (spec.number == abi::kRegisterFdNumber) request.on = DeviceClass::kGpu;
  if (spec.size == 0) return request;
  request.Add(spec.size, 0, 0);
  Fill(request, spec, 0, own);
  for (uint16_t offset : spec.objects) Put<uint32_t>(request.call.Bytes(0), offset, kObject);
  const auto bytes = request.call.Bytes(0);
  if (spec.number == kVidHeap) Put<uint32_t>(bytes, kFunctionOffset, kHeapInfo);
  if (spec.number == abi::kAllocMemoryNumber) Put<uint32_t>(bytes, abi::nvos02::kClass, kMemorySystem);
  if (spec.shape == abi::Shape::kControl) {
    if (nested == nullptr) nested = abi::Find(table.controls, kProbedIds);
    Put<uint32_t>(bytes, abi::nvos54::kCmd, nested->number);
    Put<uint32_t>(bytes, abi::nvos54::kParamsSize, nested->size != 0 ? nested->size : nested->size_max);
    AddNested(request, *nested, own);
  } else if (spec.shape == abi::Shape::kAlloc) {
    if (nested == nullptr) nested = abi::Find(table.classes, kDevice);
    Put<uint32_t>(bytes, abi::nvos21::kClass, nested->number);
    Put<uint32_t>(bytes, abi::nvos21::kObjectNew, kObject);
    if (IsClientClass(nested->number)) std::fill_n(bytes.begin(), abi::nvos21::kClass, 0);
    AddNested(request, *nested, own);
  }
  return request;
}

}  // namespace

void HonestRequest::Add(uint32_t size_bytes, uint32_t parent, uint32_t pointer_offset) {
  call.segments.push_back({static_cast<uint32_t>(call.buffer.size()), size_bytes, parent, pointer_offset});
  call.buffer.resize(call.buffer.size() + (size_bytes + 7) / 8 * 8);
}

void HonestRequest::Resize(uint32_t segment, uint32_t size_bytes) {
  const broker::DriverCall before = call;
  call.buffer.clear();
  call.segments.clear();
  for (uint32_t i = 0; i < before.segments.size(); ++i) {
    const broker::CallSegment& one = before.segments[i];
    Add(i == segment ? size_bytes : one.size_bytes, one.parent, one.pointer_offset);
    const auto from = before.Bytes(i);
    const auto to = call.Bytes(i);
    std::copy_n(from.begin(), std::min(from.size(), to.size()), to.begin());
  }
}

HonestRequest MakeHonestRequest(const abi::Table& table, Kind kind, const abi::Spec& spec,
                                const Belongings& own) {
  if (kind == Kind::kEscape) return Escape(table, spec, nullptr, own);
  if (kind == Kind::kControl || kind == Kind::kClass) {
    const uint32_t number = kind == Kind::kControl ? kControl : kAlloc;
    HonestRequest request = Escape(table, *abi::Find(table.escapes, number, abi::nvos21::kSize), &spec, own);
    request.segment = request.call.segments.size() > 1 ? 1 : 0;
    return request;
  }
  HonestRequest request;
  request.on = DeviceClass::kUvm;
  request.call.command = spec.number;
  request.status_offset = spec.status_offset;
  if (spec.size != 0) request.Add(spec.size, 0, 0);
  Fill(request, spec, 0, own);
  return request;
}

}  // namespace nvshim::testing
