#include "broker/core/verdict.h"

#include <algorithm>
#include <iterator>

#include "broker/core/rm_calls.h"
#include "proto/abi/exported_objects.h"

namespace nvshim::broker {
namespace {

constexpr char kLetters[] = {'-', 'a', 'k', 'f', 'c', 'n', 's'};  // by Verdict
static_assert(std::size(kLetters) == std::size(kVerdictNames));

constexpr uint32_t kFilteredControls[] = {NV2080_CTRL_CMD_GPU_GET_PIDS, NV2080_CTRL_CMD_GPU_GET_PID_INFO,
                                          NV2080_CTRL_CMD_FB_GET_INFO, NV2080_CTRL_CMD_FB_GET_INFO_V2};

// Escapes that the core cannot follow, whatever anybody decides: their structs hold more than a spec can
// tell.
constexpr uint32_t kNotFollowedEscapes[] = {
    0x28,  // NV_ESC_RM_ALLOC_OBJECT: makes an object of a class that is not looked up
    0x39,  // NV_ESC_RM_I2C_ACCESS: a pointer of a length that its kind tells
    0x41,  // NV_ESC_RM_IDLE_CHANNELS: client handles behind a pointer
    0x4d,  // NV_ESC_RM_ACCESS_REGISTRY: pointers of lengths that are not where a spec could say
    0x54,  // NV_ESC_RM_ALLOC_CONTEXT_DMA2: makes an object that the handle table would not know
    0xd9,  // NV_ESC_EXPORT_TO_DMABUF_FD: the new descriptor would be the worker's
};

template <size_t n>
bool IsAmong(const uint32_t (&numbers)[n], uint32_t number) {
  return std::find(numbers, numbers + n, number) != numbers + n;
}

bool NamesFiles(const abi::Spec& spec) {
  return std::any_of(spec.fds.begin(), spec.fds.end(), [](const abi::FdField& fd) {
    return fd.use == abi::FdUse::kFile || fd.use == abi::FdUse::kMapping;
  });
}

// Whether a spec holds what request_check and translate look at: a client handle, a share policy, a file, a
// buffer, or a length of the caller's choice.
bool HasSomethingToCheck(const abi::Spec& spec) {
  return spec.clients.size != 0 || spec.share_policy_offset != abi::kNone || NamesFiles(spec) ||
         spec.pointers.size != 0 || spec.size != spec.size_max;
}

template <typename Visit>
void ForEachSpec(const abi::Table& table, Visit visit) {
  for (Kind kind : kKinds)
    for (const abi::Spec& spec : SpecsOf(table, kind)) visit(kind, spec);
  if (table.gss_legacy != nullptr) visit(Kind::kControl, *table.gss_legacy);
}

Verdict Usual(Kind kind, const abi::Spec& spec) {
  if (spec.withheld) return Verdict::kDeny;
  for (Verdict verdict : {Verdict::kAnswer, Verdict::kClamp, Verdict::kFilter, Verdict::kCheck})
    if (HasCode(kind, spec, verdict)) return verdict;
  return Verdict::kAllow;
}

}  // namespace

bool HasCode(Kind kind, const abi::Spec& spec, Verdict verdict) {
  if (verdict == Verdict::kDeny) return true;
  const bool is_control = kind == Kind::kControl;
  if (kind == Kind::kEscape && IsAmong(kNotFollowedEscapes, spec.number)) return false;
  if (kind == Kind::kClass && NamesFiles(spec)) return false;
  if (is_control && NamesFiles(spec) && !IsAmong(abi::kExportControls, spec.number)) return false;
  switch (verdict) {
    case Verdict::kFilter:
      return is_control ? IsAmong(kFilteredControls, spec.number)
                        : kind == Kind::kEscape && spec.number == NV_ESC_RM_VID_HEAP_CONTROL;
    case Verdict::kClamp:
      return is_control && spec.number == NVA06C_CTRL_CMD_SET_TIMESLICE;
    case Verdict::kAnswer:
      return is_control && IsAmong(kAnsweredControls, spec.number);
    case Verdict::kAllow:
      return !HasSomethingToCheck(spec);
    case Verdict::kCheck:
      return HasSomethingToCheck(spec);
    case Verdict::kShadow:
    case Verdict::kDeny:
      break;
  }
  return true;
}

const abi::SpecList& SpecsOf(const abi::Table& table, Kind kind) {
  switch (kind) {
    case Kind::kEscape:
      return table.escapes;
    case Kind::kControl:
      return table.controls;
    case Kind::kClass:
      return table.classes;
    case Kind::kUvm:
      break;
  }
  return table.uvm;
}

Verdicts::Verdicts(const abi::Table& table) : specs_(table.escapes.specs) {
  size_t size = 0;
  ForEachSpec(table, [&](Kind, const abi::Spec& spec) { size = std::max(size, IndexOf(spec) + 1); });
  verdicts_.assign(size, Verdict::kDeny);
}

Verdicts Verdicts::OfTable(const abi::Table& table) {
  Verdicts verdicts(table);
  ForEachSpec(table, [&](Kind kind, const abi::Spec& spec) { verdicts.Set(spec, Usual(kind, spec)); });
  return verdicts;
}

std::string Verdicts::Encode(const abi::Table& table) const {
  std::string letters;
  ForEachSpec(table,
              [&](Kind, const abi::Spec& spec) { letters += kLetters[static_cast<size_t>(Of(spec))]; });
  return letters;
}

std::optional<Verdicts> Verdicts::Decode(const abi::Table& table, std::string_view letters) {
  Verdicts verdicts(table);
  size_t i = 0;
  bool good = true;
  ForEachSpec(table, [&](Kind, const abi::Spec& spec) {
    const char* found = std::find(kLetters, std::end(kLetters), i < letters.size() ? letters[i] : '\0');
    good &= found != std::end(kLetters);
    if (good) verdicts.Set(spec, static_cast<Verdict>(found - kLetters));
    ++i;
  });
  return good && i == letters.size() ? std::optional(std::move(verdicts)) : std::nullopt;
}

}  // namespace nvshim::broker
