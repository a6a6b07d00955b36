#include "testing/property/laws.h"

#include <cstring>

namespace nvshim::broker {
namespace {

bool IsUvm(DeviceClass device_class) {
  return device_class == DeviceClass::kUvm || device_class == DeviceClass::kUvmTools;
}

// Whether a second struct, with a spec of its own, lies behind a pointer of the first.
bool HasNested(const abi::Spec& spec) {
  return spec.shape == abi::Shape::kControl || spec.shape == abi::Shape::kAlloc;
}

// Classes NV01_ROOT, NV01_ROOT_NON_PRIV, NV01_ROOT_CLIENT.
bool MakesClient(const abi::Spec& spec, const DriverCall& call) {
  if (spec.shape != abi::Shape::kAlloc) return false;
  const uint32_t rm_class = Get<uint32_t>(call.Bytes(0), abi::nvos21::kClass);
  return rm_class == 0x0 || rm_class == 0x1 || rm_class == 0x41;
}

}  // namespace

const abi::Spec* CallLaws::SpecOf(DeviceClass device_class, const DriverCall& call) const {
  if (IsUvm(device_class)) return abi::Find(table_.uvm, call.command);
  const uint32_t number = abi::IocNumber(call.command);
  const abi::Spec* first = abi::Find(table_.escapes, number);
  const bool is_array = first != nullptr && first->shape == abi::Shape::kArray;
  return is_array ? first : abi::Find(table_.escapes, number, abi::IocSize(call.command));
}

const abi::Spec* CallLaws::NestedOf(const abi::Spec& spec, const DriverCall& call) const {
  return spec.shape == abi::Shape::kControl
             ? abi::FindControl(table_, Get<uint32_t>(call.Bytes(0), abi::nvos54::kCmd))
             : abi::Find(table_.classes, Get<uint32_t>(call.Bytes(0), abi::nvos21::kClass));
}

bool CallLaws::Passes(const abi::Spec& spec) const {
  const Verdict verdict = verdicts_.Of(spec);
  return verdict != Verdict::kDeny && verdict != Verdict::kAnswer;
}

std::string CallLaws::Foreign(const abi::Spec& spec, const DriverCall& call, uint32_t segment,
                              bool may_be_none, const IsOwnClient& is_own) {
  const std::string at = std::string(spec.name) + ": ";
  const auto bytes = call.Bytes(segment);
  for (uint16_t offset : spec.clients) {
    const uint32_t handle = Get<uint32_t>(bytes, offset);
    if (handle == 0 && !may_be_none) return at + "in the name of no client";
    if (handle != 0 && !is_own(handle))
      return at + "client " + std::to_string(handle) + " is not this guest's";
  }
  if (spec.share_policy_offset != abi::kNone) {
    using namespace abi::share_policy;
    const auto policy = bytes.subspan(spec.share_policy_offset);
    const auto type = Get<uint16_t>(policy, kType);
    const bool with_one = type == kTypeClient && is_own(Get<uint32_t>(policy, kTarget));
    const bool wide = type != kTypeNone && type != kTypePid && type < kTypeCount;
    if (wide && !with_one && (policy[kAction] & kActionRequire) == 0)
      return at + "something is shared beyond the guest";
  }
  for (const abi::Pointer& pointer : spec.pointers)
    if (Get<uint64_t>(bytes, pointer.offset) != 0) return at + "a pointer of the guest's";
  for (const abi::FdField& fd : spec.fds)
    if (fd.use != abi::FdUse::kCookie && Get<uint32_t>(bytes, fd.offset) != 0xffffffff)
      return at + "a descriptor of the guest's";
  return "";
}

std::string CallLaws::WrongAtDriver(DeviceClass device_class, const DriverCall& call,
                                    const IsOwnClient& is_own) const {
  const abi::Spec* spec = SpecOf(device_class, call);
  if (spec == nullptr) return "a call that is in no table";
  if (call.segments.empty()) return "";
  if (!Passes(*spec)) return std::string(spec->name) + ": the policy does not let it pass";
  const bool may_be_none = IsUvm(device_class) || MakesClient(*spec, call);
  if (std::string problem = Foreign(*spec, call, 0, may_be_none, is_own); !problem.empty()) return problem;
  if (!HasNested(*spec)) return "";
  if (Get<uint64_t>(call.Bytes(0), abi::nvos54::kParams) != 0)
    return "a pointer to parameters of the guest's";
  const abi::Spec* nested = NestedOf(*spec, call);
  if (nested == nullptr) return "a control or a class that is in no table";
  if (!Passes(*nested)) return std::string(nested->name) + ": the policy does not let it pass";
  const uint32_t params = call.Child(0, abi::nvos54::kParams);
  return params == 0 ? "" : Foreign(*nested, call, params, true, is_own);
}

std::string CallLaws::Changed(const abi::Spec& spec, const DriverCall& asked, const DriverCall& answered,
                              uint32_t segment) {
  const auto before = asked.Bytes(segment), after = answered.Bytes(segment);
  const auto changed = [&](uint32_t offset, uint32_t width) {
    return std::memcmp(before.data() + offset, after.data() + offset, width) != 0;
  };
  const auto tell = [&](uint32_t offset) {
    return std::string(spec.name) + ": byte " + std::to_string(offset) + " is not the guest's own";
  };
  for (const abi::Pointer& pointer : spec.pointers)
    if (changed(pointer.offset, 8)) return tell(pointer.offset);
  for (const abi::FdField& fd : spec.fds)
    if (changed(fd.offset, 4)) return tell(fd.offset);
  for (uint16_t offset : spec.clients)
    if (changed(offset, 4)) return tell(offset);
  for (uint16_t offset : spec.objects)
    if (changed(offset, 4)) return tell(offset);
  if (spec.share_policy_offset != abi::kNone && changed(spec.share_policy_offset, abi::share_policy::kSize))
    return tell(spec.share_policy_offset);
  return "";
}

std::string CallLaws::WrongInAnswer(DeviceClass device_class, const DriverCall& asked,
                                    const DriverCall& answered) const {
  bool same_layout = asked.segments.size() == answered.segments.size();
  for (size_t i = 0; same_layout && i < answered.segments.size(); ++i)
    same_layout = asked.segments[i].size_bytes == answered.segments[i].size_bytes;
  if (!same_layout) return "the reply is laid out otherwise than the request";
  if (answered.segments.empty()) return "";
  const abi::Spec* spec = SpecOf(device_class, asked);
  if (spec == nullptr || asked.segments[0].size_bytes < spec->size) return "";
  if (std::string problem = Changed(*spec, asked, answered, 0); !problem.empty()) return problem;
  if (!HasNested(*spec)) return "";
  const abi::Spec* nested = NestedOf(*spec, asked);
  const uint32_t params = asked.Child(0, abi::nvos54::kParams);
  if (nested == nullptr || params == 0 || asked.segments[params].size_bytes < nested->size) return "";
  return Changed(*nested, asked, answered, params);
}

}  // namespace nvshim::broker
