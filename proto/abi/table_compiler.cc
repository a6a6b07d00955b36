#include "proto/abi/table_compiler.h"

#include <google/protobuf/io/zero_copy_stream_impl.h>
#include <google/protobuf/text_format.h>
#include <google/protobuf/util/message_differencer.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <optional>
#include <utility>

#include "proto/abi/slots.h"

namespace nvshim::abi {
namespace {

// The driver's limit for embedded parameter buffers, when a table line says nothing.
constexpr uint32_t kEmbeddedSizeMax = 1u << 20;

// What stands for "no such field" where an offset is expected (spec.h).
constexpr uint32_t kNoOffset = 0xffff;

std::string Hex(uint32_t value) {
  char text[16];
  std::snprintf(text, sizeof(text), "0x%08x", value);
  return text;
}

// "535.261.03" -> "535_261_03"
std::string Identifier(std::string version) {
  std::replace(version.begin(), version.end(), '.', '_');
  return version;
}

// What is wrong with a line, or "".
std::string Problem(const Spec& spec) {
  if (spec.name().empty() || spec.name().find_first_of("\"\\\n\r") != std::string::npos)
    return "its name is none that a C++ string can hold as it is";
  if (spec.size() > 0xffff * 16u) return "size is out of range";
  if (spec.size_max() != 0 && spec.size() != 0) return "size and size_max are both given";
  const auto inside = [&](uint64_t offset, uint32_t width) {
    return offset + width <= spec.size() && offset < kNoOffset;
  };
  for (const Pointer& pointer : spec.pointer()) {
    if (!inside(pointer.offset(), 8)) return "a pointer lies outside the struct";
    if (pointer.has_count_offset() && !inside(pointer.count_offset(), 4))
      return "a count lies outside the struct";
    if (pointer.direction() != DIRECTION_NULL && pointer.element_size() == 0)
      return "a pointer has no element_size";
  }
  for (const FdField& fd : spec.fd())
    if (!inside(fd.offset(), 4)) return "an fd field lies outside the struct";
  for (uint32_t client : spec.client())
    if (!inside(client, 4)) return "a client handle lies outside the struct";
  for (uint32_t object : spec.object())
    if (!inside(object, 4)) return "an object handle lies outside the struct";
  if (spec.has_share_policy() && !inside(spec.share_policy(), 12))
    return "the share policy lies outside the struct";
  if (spec.has_status() && !inside(spec.status(), 4)) return "the status lies outside the struct";
  return "";
}

std::string DirectionName(Direction direction) {
  switch (direction) {
    case DIRECTION_IN:
      return "kIn";
    case DIRECTION_OUT:
      return "kOut";
    case DIRECTION_NULL:
      return "kNull";
    default:
      return "kInOut";
  }
}

std::string ShapeName(Shape shape) {
  switch (shape) {
    case SHAPE_ARRAY:
      return "kArray";
    case SHAPE_CONTROL:
      return "kControl";
    case SHAPE_ALLOC:
      return "kAlloc";
    default:
      return "kOpaque";
  }
}

std::string UseName(FdUse use) {
  switch (use) {
    case FD_USE_MAPPING:
      return "kMapping";
    case FD_USE_COOKIE:
      return "kCookie";
    case FD_USE_IGNORED:
      return "kIgnored";
    default:
      return "kFile";
  }
}

// The lines of one kind of call that a version has, by number. NV_ESC_RM_ALLOC has two of one number.
using Lines = std::map<uint32_t, std::vector<Spec>>;

struct Version {
  std::string name;
  Lines escapes, controls, classes, uvm;
  std::optional<Spec> gss_legacy;
};

template <typename T>
using Repeated = google::protobuf::RepeatedPtrField<T>;

bool SayTheSame(const std::vector<Spec>& a, const std::vector<Spec>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const Spec& one, const Spec& other) {
    return google::protobuf::util::MessageDifferencer::Equals(one, other);
  });
}

class Compiler {
 public:
  explicit Compiler(std::ostream& out) : out_(out) {}

  void Add(const AbiTable& table) {
    problem_prefix_ = table.driver_version() + ": ";
    if (table.driver_version().empty() ||
        table.driver_version().find_first_not_of("0123456789.") != std::string::npos)
      return Complain("is no driver version");
    if (std::any_of(versions_.begin(), versions_.end(),
                    [&](const Version& each) { return each.name == table.driver_version(); }))
      return Complain("appears twice");
    Version version;
    if (!table.base().empty()) {
      const auto base = std::find_if(versions_.begin(), versions_.end(),
                                     [&](const Version& each) { return each.name == table.base(); });
      if (base == versions_.end()) return Complain("its base " + table.base() + " does not come before it");
      version = *base;
    }
    version.name = table.driver_version();
    Apply(table.escape(), table.removed_escape(), &version.escapes);
    Apply(table.control(), table.removed_control(), &version.controls);
    Apply(table.class_(), table.removed_class(), &version.classes);
    Apply(table.uvm(), table.removed_uvm(), &version.uvm);
    if (table.has_gss_legacy()) {
      version.gss_legacy = table.gss_legacy();
      ComplainOf(table.gss_legacy());
    }
    AddTable(version);
    versions_.push_back(std::move(version));
  }

  // Writes what the lists are made of, then the lists.
  void Finish() {
    out_ << "\nconstexpr Spec kSpecs[] = {\n";
    for (const std::string& spec : specs_) out_ << spec;
    out_ << "};\n\n" << tables_ << "constexpr const Table* kTables[] = {";
    for (const Version& version : versions_) out_ << "&kTable_" << Identifier(version.name) << ", ";
    out_
        << "};\n\n}  // namespace\n\nList<const Table*> Tables() { return {kTables, std::size(kTables)}; }\n";
    if (specs_.size() > 0xffff) Complain("more specs than an index of 16 bits can tell apart");
  }

  const std::vector<std::string>& problems() const { return problems_; }

 private:
  void Complain(const std::string& problem) { problems_.push_back(problem_prefix_ + problem); }

  void ComplainOf(const Spec& spec) {
    const std::string problem = Problem(spec);
    if (!problem.empty()) Complain(spec.name() + ": " + problem);
  }

  // Replaces, adds and removes lines.
  void Apply(const Repeated<Spec>& specs, const google::protobuf::RepeatedField<uint32_t>& removed,
             Lines* lines) {
    Lines own;
    for (const Spec& spec : specs) {
      ComplainOf(spec);
      std::vector<Spec>& same = own[spec.number()];
      if (std::any_of(same.begin(), same.end(),
                      [&](const Spec& other) { return other.size() == spec.size(); }))
        Complain(spec.name() + ": its number appears twice");
      same.push_back(spec);
    }
    for (uint32_t number : removed)
      if (own.contains(number) || lines->erase(number) == 0)
        Complain("removes " + Hex(number) + ", which the base does not have or a line replaces");
    for (auto& [number, same] : own) {
      std::sort(same.begin(), same.end(), [](const Spec& a, const Spec& b) { return a.size() < b.size(); });
      const auto base = lines->find(number);
      if (base != lines->end() && SayTheSame(base->second, same))
        Complain(same[0].name() + ": says what the base says");
      (*lines)[number] = std::move(same);
    }
  }

  void AddTable(const Version& version) {
    const std::string id = Identifier(version.name);
    const std::pair<const char*, const Lines*> kinds[] = {{"kEscapes_", &version.escapes},
                                                          {"kControls_", &version.controls},
                                                          {"kClasses_", &version.classes},
                                                          {"kUvm_", &version.uvm}};
    std::string lists;
    for (const auto& [kind, lines] : kinds) {
      std::string indices;
      std::vector<std::pair<uint32_t, size_t>> entries;  // number, index
      for (const auto& [number, same] : *lines)
        for (const Spec& spec : same) entries.emplace_back(number, IndexOf(spec));
      for (const auto& [number, index] : entries) indices += std::to_string(index) + ", ";
      const uint32_t slot_bits = SlotBits(entries.size());
      const std::string name = kind + id;
      tables_ += "constexpr uint16_t " + name + "[] = {" + indices + "};\n";
      tables_ += "constexpr uint16_t " + name + "_slots[] = {" + Slots(entries, slot_bits) + "};\n";
      lists += ", {kSpecs, " + name + ", std::size(" + name + "), " + name + "_slots, " +
               std::to_string(slot_bits) + "}";
    }
    const std::string gss_legacy =
        version.gss_legacy ? "&kSpecs[" + std::to_string(IndexOf(*version.gss_legacy)) + "]" : "nullptr";
    tables_ += "constexpr Table kTable_" + id + " = {\"" + version.name + "\"" + lists + ", " + gss_legacy +
               "};\n\n";
  }

  static uint32_t SlotBits(size_t entries) {
    uint32_t bits = 1;
    while ((size_t{1} << bits) < 2 * entries) ++bits;
    return bits;
  }

  // In the order of the list, so that Find meets specs of one number in it.
  static std::string Slots(const std::vector<std::pair<uint32_t, size_t>>& entries, uint32_t slot_bits) {
    std::vector<uint16_t> slots(size_t{1} << slot_bits, kEmptySlot);
    for (const auto& [number, index] : entries)
      AddToSlots(slots, slot_bits, number, static_cast<uint16_t>(index));
    std::string text;
    for (uint16_t index : slots) text += std::to_string(index) + ", ";
    return text;
  }

  // Where `spec` stands in kSpecs: equal ones once.
  size_t IndexOf(const Spec& spec) {
    const std::string line = Line(spec);
    const auto [it, is_new] = index_of_.emplace(line, specs_.size());
    if (is_new) specs_.push_back(line);
    return it->second;
  }

  std::string Line(const Spec& spec) {
    const auto flag = [](bool value) { return value ? std::string("true") : std::string("false"); };
    const uint32_t size_max = spec.size_max() != 0 ? spec.size_max() : spec.size();
    return "    {" + Hex(spec.number()) + ", " + std::to_string(spec.size()) + ", " +
           std::to_string(size_max) + ", " + flag(!spec.withheld().empty()) +
           ", Shape::" + ShapeName(spec.shape()) + ", " + flag(spec.may_block()) + ", " +
           flag(spec.params_optional()) + ", " +
           (spec.has_status() ? std::to_string(spec.status()) : "kNone") + ", " + Pointers(spec) + ", " +
           Fds(spec) + ", " + Offsets(spec.client()) + ", " + Offsets(spec.object()) + ", " +
           (spec.has_share_policy() ? std::to_string(spec.share_policy()) : "kNone") + ", \"" + spec.name() +
           "\"},\n";
  }

  std::string Pointers(const Spec& spec) {
    std::string items;
    for (const Pointer& pointer : spec.pointer())
      items += "{" + std::to_string(pointer.offset()) + ", " +
               (pointer.has_count_offset() ? std::to_string(pointer.count_offset()) : "kNone") + ", " +
               std::to_string(pointer.element_size()) + ", " +
               std::to_string(pointer.size_max() != 0 ? pointer.size_max() : kEmbeddedSizeMax) +
               ", Direction::" + DirectionName(pointer.direction()) + "}, ";
    return Array("Pointer", items, spec.pointer_size());
  }

  std::string Fds(const Spec& spec) {
    std::string items;
    for (const FdField& fd : spec.fd())
      items += "{" + std::to_string(fd.offset()) + ", FdUse::" + UseName(fd.use()) + "}, ";
    return Array("FdField", items, spec.fd_size());
  }

  std::string Offsets(const google::protobuf::RepeatedField<uint32_t>& offsets) {
    std::string items;
    for (uint32_t offset : offsets) items += std::to_string(offset) + ", ";
    return Array("uint16_t", items, offsets.size());
  }

  // The List of an array with these items, which is written when it is the first of its kind.
  std::string Array(const std::string& type, const std::string& items, int size) {
    if (size == 0) return "{}";
    const auto [it, is_new] =
        array_names_.emplace(type + items, "k" + type + "s_" + std::to_string(array_names_.size()));
    if (is_new) out_ << "constexpr " << type << " " << it->second << "[] = {" << items << "};\n";
    return "{" + it->second + ", " + std::to_string(size) + "}";
  }

  std::ostream& out_;
  std::vector<Version> versions_;
  std::string tables_;              // written last: they refer to kSpecs
  std::vector<std::string> specs_;  // lines of kSpecs
  std::map<std::string, size_t> index_of_;
  std::map<std::string, std::string> array_names_;
  std::string problem_prefix_;
  std::vector<std::string> problems_;
};

}  // namespace

bool ReadTable(std::istream& in, AbiTable* table) {
  google::protobuf::io::IstreamInputStream stream(&in);
  return google::protobuf::TextFormat::Parse(&stream, table);
}

std::vector<std::string> CompileTables(const std::vector<AbiTable>& tables, std::ostream& out) {
  out << "// Generated by proto/abi/generate.cc. Do not edit.\n#include \"proto/abi/spec.h\"\n\n"
      << "namespace nvshim::abi {\nnamespace {\n\n";
  Compiler compiler(out);
  for (const AbiTable& table : tables) compiler.Add(table);
  compiler.Finish();
  out << "\n}  // namespace nvshim::abi\n";
  return compiler.problems();
}

}  // namespace nvshim::abi
