// Field positions of clc6c0qmd.h (2.4), clc9c0qmd.h (3.0) and clcbc0qmd.h (4.0), which number the bits of the
// whole descriptor.
#include "broker/driver/sim/engine/qmd.h"

namespace nvshim::broker::sim::engine {
namespace {

struct Field {
  uint16_t bit = 0;
  uint16_t bits = 0;  // 0: the version has no such field, and it reads as 0
};

struct ReleaseFields {
  Field enable, address_upper, payload, structure, reduces, operation, format, trap, wide;
};

struct DependentFields {
  Field enable, action, pointer;
};

struct Layout {
  uint8_t version;
  Field program_upper, counter, schedule, self_copy, hw_counter, hw_schedule;
  ReleaseFields releases[Qmd::kReleases];
  DependentFields dependents[Qmd::kDependents];
};

// *_UPPER fields follow their 32 lower bits.
// clang-format off
constexpr Layout kLayouts[] = {
    {0x24, {1568, 17}, {151, 7}, {140, 1}, {158, 1}, {1728, 7}, {1631, 1},
     {{{138, 1}, {768, 8}, {800, 32}, {799, 1}, {794, 1}, {788, 3}, {792, 2}, {}, {}},
      {{139, 1}, {864, 8}, {896, 32}, {895, 1}, {890, 1}, {884, 3}, {888, 2}, {}, {}},
      {}},
     {{{141, 1}, {142, 3}, {480, 32}}, {}}},
    {0x30, {1568, 17}, {142, 16}, {140, 1}, {158, 1}, {1952, 16}, {1855, 1},
     {{{823, 1}, {800, 8}, {832, 32}, {830, 2}, {826, 1}, {820, 3}, {824, 2}, {827, 2}, {829, 1}},
      {{951, 1}, {928, 8}, {960, 32}, {958, 2}, {954, 1}, {948, 3}, {952, 2}, {955, 2}, {957, 1}},
      {{1719, 1}, {1696, 8}, {1728, 32}, {1726, 2}, {1722, 1}, {1716, 3}, {1720, 2}, {1723, 2}, {1725, 1}}},
     {{{512, 1}, {513, 3}, {480, 32}}, {}}},
    {0x40, {1248, 25}, {0, 16}, {30, 1}, {378, 1}, {288, 16}, {304, 1},
     {{{320, 1}, {672, 25}, {704, 32}, {321, 2}, {324, 1}, {325, 3}, {328, 2}, {330, 2}, {332, 1}},
      {{336, 1}, {800, 25}, {832, 32}, {337, 2}, {340, 1}, {341, 3}, {344, 2}, {346, 2}, {348, 1}},
      {{352, 1}, {928, 25}, {960, 32}, {353, 2}, {356, 1}, {357, 3}, {360, 2}, {362, 2}, {364, 1}}},
     {{{368, 1}, {369, 3}, {448, 32}}, {{373, 1}, {374, 3}, {480, 32}}}},
};
// clang-format on

constexpr Field kVersion{576, 4}, kMajorVersion{580, 4};
// Before version 4 a queue of launches is told by one bit, from then on by a type.
constexpr Field kIsQueue{136, 1}, kType{23, 3};
constexpr uint32_t kTypeQueue = 0, kTypeNullGrid = 1, kTypesEnd = 6;
constexpr uint32_t kMajorWithTypes = 4;

constexpr uint32_t kFourWords = 0;          // of *_STRUCTURE_SIZE
constexpr uint32_t kTrapUnconditional = 1;  // of *_TRAP_TYPE; 0 is none, above are conditions
constexpr uint32_t kSigned = 1;             // of *_REDUCTION_FORMAT; 0 is unsigned
// In the order of their values.
constexpr Reduction kReductions[] = {Reduction::kAdd,       Reduction::kMin,       Reduction::kMax,
                                     Reduction::kIncrement, Reduction::kDecrement, Reduction::kAnd,
                                     Reduction::kOr,        Reduction::kXor};

uint32_t Mask(Field field) { return field.bits == 32 ? ~0u : (1u << field.bits) - 1; }

// No field crosses a word.
uint32_t Get(const QmdWords& words, Field field) {
  return words[field.bit / 32] >> field.bit % 32 & Mask(field);
}

// A field with the 32 bits before it.
uint64_t GetWithLower(const QmdWords& words, Field upper) {
  return uint64_t{Get(words, upper)} << 32 | words[upper.bit / 32 - 1];
}

const Layout* FindLayout(uint32_t version) {
  for (const Layout& layout : kLayouts)
    if (layout.version == version) return &layout;
  return nullptr;
}

Fault GetCompletion(const QmdWords& words, const ReleaseFields& fields, Qmd::Completion* completion) {
  completion->enabled = Get(words, fields.enable) != 0;
  if (!completion->enabled) return Fault::kNone;
  Release& release = completion->release;
  release.address = GetWithLower(words, fields.address_upper);
  release.payload = Get(words, fields.payload);
  release.wide = Get(words, fields.wide) != 0;
  if (release.wide) release.payload |= uint64_t{words[fields.payload.bit / 32 + 1]} << 32;
  release.timestamp = Get(words, fields.structure) == kFourWords;
  release.reduces = Get(words, fields.reduces) != 0;
  release.reduction = ComputeReduction(Get(words, fields.operation));
  const uint32_t format = Get(words, fields.format), trap = Get(words, fields.trap);
  release.is_signed = format == kSigned;
  completion->interrupt = trap == kTrapUnconditional;
  return format <= kSigned && trap <= kTrapUnconditional ? Fault::kNone : Fault::kUnsupported;
}

Fault PutField(Host& host, uint64_t address, Field field, uint32_t value) {
  const uint64_t at = address + field.bit / 32 * sizeof(uint32_t);
  uint32_t word;
  if (!ReadMemory(host, at, &word, sizeof(word))) return Fault::kBadAddress;
  word &= ~(Mask(field) << field.bit % 32);
  word |= (value & Mask(field)) << field.bit % 32;
  return WriteMemory(host, at, &word, sizeof(word)) ? Fault::kNone : Fault::kBadAddress;
}

}  // namespace

Reduction ComputeReduction(uint32_t operation) { return kReductions[operation & 7]; }

uint32_t QmdVersion(const QmdWords& words) { return Get(words, kMajorVersion) << 4 | Get(words, kVersion); }

Fault ParseQmd(const QmdWords& words, Qmd* qmd) {
  *qmd = {};
  qmd->version = QmdVersion(words);
  const Layout* layout = FindLayout(qmd->version);
  if (layout == nullptr) return Fault::kUnsupported;
  if (Get(words, kMajorVersion) >= kMajorWithTypes) {
    const uint32_t type = Get(words, kType);
    if (type == kTypeQueue || type >= kTypesEnd) return Fault::kUnsupported;
    qmd->runs_program = type != kTypeNullGrid;
  } else {
    if (Get(words, kIsQueue) != 0) return Fault::kUnsupported;
    qmd->runs_program = true;
  }
  qmd->program = GetWithLower(words, layout->program_upper);
  qmd->wait = {Get(words, layout->hw_counter), Get(words, layout->hw_schedule) != 0};
  qmd->wait_anew = {Get(words, layout->counter), Get(words, layout->schedule) != 0};
  qmd->copies_wait_when_done = Get(words, layout->self_copy) != 0;
  for (uint32_t i = 0; i < Qmd::kReleases; ++i)
    if (const Fault fault = GetCompletion(words, layout->releases[i], &qmd->completions[i]);
        fault != Fault::kNone)
      return fault;
  for (uint32_t i = 0; i < Qmd::kDependents; ++i) {
    const DependentFields& fields = layout->dependents[i];
    qmd->dependents[i] = {.enabled = Get(words, fields.enable) != 0,
                          .action = Get(words, fields.action),
                          .address = uint64_t{Get(words, fields.pointer)} << 8};
  }
  return Fault::kNone;
}

Fault StoreQmdWait(Host& host, uint64_t address, const Qmd& qmd) {
  const Layout* layout = FindLayout(qmd.version);
  if (layout == nullptr) return Fault::kUnsupported;
  const Fault fault = PutField(host, address, layout->hw_counter, qmd.wait.counter);
  if (fault != Fault::kNone) return fault;
  return PutField(host, address, layout->hw_schedule, qmd.wait.schedule ? 1 : 0);
}

}  // namespace nvshim::broker::sim::engine
