// Compiles ABI tables (text-format AbiTable files) into one C++ source of constexpr arrays, the definition of
// abi::Tables(). Runs at build time only; a table that contradicts itself fails the build with the line's
// name.
//   generate OUT.cc TABLE.textproto...
#include <google/protobuf/io/zero_copy_stream_impl.h>
#include <google/protobuf/text_format.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <set>
#include <string>
#include <vector>

#include "proto/abi.pb.h"

namespace nvshim::abi {
namespace {

// The driver's limit for embedded parameter buffers, when a table line says nothing.
constexpr uint32_t kEmbeddedSizeMax = 1u << 20;

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
  if (spec.size() > 0xffff * 16u) return "size is out of range";
  const auto inside = [&](uint32_t offset, uint32_t width) { return offset + width <= spec.size(); };
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

class Writer {
 public:
  explicit Writer(std::ofstream& out) : out_(out) {}

  // One array of specs, sorted by (number, size); the sub-arrays of a spec stand in front of it.
  void Specs(const std::string& name, google::protobuf::RepeatedPtrField<Spec> specs) {
    std::stable_sort(specs.begin(), specs.end(), [](const Spec& a, const Spec& b) {
      return std::pair(a.number(), a.size()) < std::pair(b.number(), b.size());
    });
    std::string lines;
    for (const Spec& spec : specs) lines += Line(name, spec);
    out_ << "constexpr Spec " << name << "[] = {\n" << lines << "};\n\n";
  }

  const std::vector<std::string>& problems() const { return problems_; }

 private:
  std::string Line(const std::string& array, const Spec& spec) {
    const std::string problem = Problem(spec);
    if (!problem.empty()) problems_.push_back(spec.name() + ": " + problem);
    if (!seen_.insert(array + Hex(spec.number()) + ":" + std::to_string(spec.size())).second)
      problems_.push_back(spec.name() + ": its number appears twice");
    const std::string stem = array + "_" + Hex(spec.number()) + "_" + std::to_string(spec.size());
    std::string line = "    {" + Hex(spec.number()) + ", " + std::to_string(spec.size()) +
                       ", Shape::" + ShapeName(spec.shape()) + ", " + (spec.may_block() ? "true" : "false") +
                       ", " + (spec.params_optional() ? "true" : "false") + ", " +
                       (spec.has_status() ? std::to_string(spec.status()) : "kNone");
    line += ", " + Pointers(stem, spec) + ", " + Fds(stem, spec);
    line +=
        ", " + Offsets(stem + "_clients", spec.client()) + ", " + Offsets(stem + "_objects", spec.object());
    return line + ", \"" + spec.name() + "\"},\n";
  }

  std::string Pointers(const std::string& stem, const Spec& spec) {
    std::string items;
    for (const Pointer& pointer : spec.pointer())
      items += "{" + std::to_string(pointer.offset()) + ", " +
               (pointer.has_count_offset() ? std::to_string(pointer.count_offset()) : "kNone") + ", " +
               std::to_string(pointer.element_size()) + ", " +
               std::to_string(pointer.size_max() != 0 ? pointer.size_max() : kEmbeddedSizeMax) +
               ", Direction::" + DirectionName(pointer.direction()) + "}, ";
    return Array("Pointer", stem + "_pointers", items, spec.pointer_size());
  }

  std::string Fds(const std::string& stem, const Spec& spec) {
    std::string items;
    for (const FdField& fd : spec.fd())
      items += "{" + std::to_string(fd.offset()) + ", FdUse::" + UseName(fd.use()) + "}, ";
    return Array("FdField", stem + "_fds", items, spec.fd_size());
  }

  std::string Offsets(const std::string& name, const google::protobuf::RepeatedField<uint32_t>& offsets) {
    std::string items;
    for (uint32_t offset : offsets) items += std::to_string(offset) + ", ";
    return Array("uint16_t", name, items, offsets.size());
  }

  std::string Array(const std::string& type, const std::string& name, const std::string& items, int size) {
    if (size == 0) return "{}";
    out_ << "constexpr " << type << " " << name << "[] = {" << items << "};\n";
    return "{" + name + ", " + std::to_string(size) + "}";
  }

  std::ofstream& out_;
  std::set<std::string> seen_;
  std::vector<std::string> problems_;
};

bool ReadTable(const char* path, AbiTable* table) {
  std::ifstream in(path);
  google::protobuf::io::IstreamInputStream stream(&in);
  return in.is_open() && google::protobuf::TextFormat::Parse(&stream, table);
}

int Generate(int argc, char** argv) {
  std::ofstream out(argv[1]);
  out << "// Generated by proto/abi/generate.cc. Do not edit.\n#include \"proto/abi/spec.h\"\n\n"
      << "namespace nvshim::abi {\nnamespace {\n\n";
  Writer writer(out);
  std::string pointers;
  for (int i = 2; i < argc; ++i) {
    AbiTable table;
    if (!ReadTable(argv[i], &table)) {
      std::fprintf(stderr, "%s: cannot be read as nvshim.abi.AbiTable\n", argv[i]);
      return 1;
    }
    const std::string id = Identifier(table.driver_version());
    writer.Specs("kEscapes_" + id, table.escape());
    writer.Specs("kControls_" + id, table.control());
    writer.Specs("kClasses_" + id, table.class_());
    writer.Specs("kUvm_" + id, table.uvm());
    out << "constexpr Table kTable_" << id << " = {\"" << table.driver_version() << "\"";
    for (const char* kind : {"kEscapes_", "kControls_", "kClasses_", "kUvm_"})
      out << ", {" << kind << id << ", std::size(" << kind << id << ")}";
    out << "};\n\n";
    pointers += "&kTable_" + id + ", ";
  }
  out << "constexpr const Table* kTables[] = {" << pointers << "};\n\n}  // namespace\n\n"
      << "List<const Table*> Tables() { return {kTables, " << argc - 2
      << "}; }\n\n}  // namespace nvshim::abi\n";
  for (const std::string& problem : writer.problems()) std::fprintf(stderr, "%s\n", problem.c_str());
  return writer.problems().empty() ? 0 : 1;
}

}  // namespace
}  // namespace nvshim::abi

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: generate OUT.cc TABLE.textproto...\n");
    return 2;
  }
  return nvshim::abi::Generate(argc, argv);
}
