// Compares ABI tables, for people who add a driver version (docs/adding_a_driver_version.md).
//   differ OLD NEW               what changes between two versions that have tables, as lines of a table
//   differ OLD --facts NEW.csv   the table that a version with these facts needs, told from OLD; run where
//                                proto/abi/facts/OLD.csv is found
// The second knows what the facts say and no more: what is new is withheld until somebody has looked at it.
#include <algorithm>
#include <cstdio>
#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "proto/abi/facts.h"
#include "proto/abi/spec.h"

namespace nvshim::abi {
namespace {

// A Spec that can be changed; its fields are those of proto/abi.proto.
struct Line {
  std::string kind, name;
  uint32_t number = 0, size = 0;
  Shape shape = Shape::kOpaque;
  bool withheld = false, params_optional = false, may_block = false;
  std::vector<Pointer> pointers;
  std::vector<FdField> fds;
  std::vector<uint32_t> clients, objects;
  std::optional<uint32_t> share_policy, status;
  std::string remark;
};

std::string Decimal(const char* key, uint32_t value) {
  return " " + std::string(key) + ": " + std::to_string(value);
}

std::string PointerText(const Pointer& pointer) {
  static const char* const kDirections[] = {"", "IN", "OUT", "NULL"};
  std::string text = " pointer {" + Decimal("offset", pointer.offset);
  if (pointer.count_offset != kNone) text += Decimal("count_offset", pointer.count_offset);
  if (pointer.element_size != 0) text += Decimal("element_size", pointer.element_size);
  if (pointer.size_max != 0 && pointer.size_max != kEmbeddedSizeMax)
    text += Decimal("size_max", pointer.size_max);
  if (pointer.direction != Direction::kInOut)
    text += std::string(" direction: DIRECTION_") + kDirections[static_cast<int>(pointer.direction)];
  return text + " }";
}

std::string Text(const Line& line) {
  static const char* const kShapes[] = {"", "ARRAY", "CONTROL", "ALLOC"};
  static const char* const kUses[] = {"FILE", "MAPPING", "COOKIE", "IGNORED"};
  char number[16];
  std::snprintf(number, sizeof(number), "0x%x", line.number);
  std::string text = line.kind + " { name: \"" + line.name + "\" number: " + number;
  if (line.size != 0) text += Decimal("size", line.size);
  if (line.shape != Shape::kOpaque)
    text += std::string(" shape: SHAPE_") + kShapes[static_cast<int>(line.shape)];
  for (const Pointer& pointer : line.pointers) text += PointerText(pointer);
  for (const FdField& fd : line.fds)
    text += " fd {" + Decimal("offset", fd.offset) + " use: FD_USE_" + kUses[static_cast<int>(fd.use)] + " }";
  for (uint32_t client : line.clients) text += Decimal("client", client);
  for (uint32_t object : line.objects) text += Decimal("object", object);
  if (line.share_policy) text += Decimal("share_policy", *line.share_policy);
  if (line.status) text += Decimal("status", *line.status);
  if (line.may_block) text += " may_block: true";
  if (line.params_optional) text += " params_optional: true";
  if (line.withheld) text += " withheld: \"...\"";
  return text + " }" + (line.remark.empty() ? "" : "  # " + line.remark);
}

Line LineOf(const std::string& kind, const Spec& spec) {
  Line line;
  line.kind = kind;
  line.name = spec.name;
  line.number = spec.number;
  line.size = spec.size;
  line.shape = spec.shape;
  line.withheld = spec.withheld;
  line.params_optional = spec.params_optional;
  line.may_block = spec.may_block;
  line.pointers.assign(spec.pointers.begin(), spec.pointers.end());
  line.fds.assign(spec.fds.begin(), spec.fds.end());
  line.clients.assign(spec.clients.begin(), spec.clients.end());
  line.objects.assign(spec.objects.begin(), spec.objects.end());
  if (spec.share_policy_offset != kNone) line.share_policy = spec.share_policy_offset;
  if (spec.status_offset != kNone) line.status = spec.status_offset;
  return line;
}

// All lines of a version by kind, number and size of an escape.
using Lines = std::map<std::tuple<std::string, uint32_t, uint32_t>, Line>;

Lines LinesOf(const Table& table) {
  Lines lines;
  const std::pair<const char*, const SpecList*> kinds[] = {{"escape", &table.escapes},
                                                           {"uvm", &table.uvm},
                                                           {"class", &table.classes},
                                                           {"control", &table.controls}};
  for (const auto& [kind, specs] : kinds)
    for (const Spec& spec : *specs)
      lines[{kind, spec.number, spec.shape == Shape::kAlloc ? spec.size : 0}] = LineOf(kind, spec);
  return lines;
}

// Prints what a table has to say so that `from` becomes `to`.
void PrintDifference(const Lines& from, const Lines& to) {
  for (const char* kind : {"escape", "uvm", "class", "control"}) {
    for (const auto& [key, line] : from)
      if (line.kind == kind && !to.contains(key))
        std::printf("removed_%s: 0x%x  # %s\n", kind, line.number, line.name.c_str());
    for (const auto& [key, line] : to) {
      if (line.kind != kind) continue;
      const auto old = from.find(key);
      if (old == from.end()) {
        std::printf("%s\n", Text(line).c_str());
      } else if (Line plain = line; plain.remark.clear(), Text(plain) != Text(old->second)) {
        std::printf("# was %s\n%s\n", Text(old->second).c_str(), Text(line).c_str());
      }
    }
  }
}

// ---- From facts ----

// What stood at `offset` in the old struct, in the new one: the field of the same name, as far into it.
std::optional<uint32_t> Moved(const Fact& from, const Fact& to, uint32_t offset) {
  for (const FactField& field : from.fields) {
    const uint32_t width = field.role == "fd" ? field.width : field.role == "client" ? 4 * field.repeat : 1;
    if (offset < field.offset || offset >= field.offset + width) continue;
    if (const FactField* now = to.Find(field.name)) return now->offset + (offset - field.offset);
  }
  return std::nullopt;
}

void MoveAll(const Fact& from, const Fact& to, std::vector<uint32_t>* offsets, std::string* remark) {
  std::vector<uint32_t> moved;
  for (uint32_t offset : *offsets) {
    if (const auto now = Moved(from, to, offset))
      moved.push_back(*now);
    else
      *remark += "the handle at " + std::to_string(offset) + " is gone ";
  }
  *offsets = moved;
}

Pointer PointerOf(const FactField& field, Direction direction) {
  if (field.element_size == 0) direction = Direction::kNull;
  const bool followed = direction != Direction::kNull;
  return {static_cast<uint16_t>(field.offset),
          followed && field.count_offset ? static_cast<uint16_t>(*field.count_offset) : kNone,
          followed ? field.element_size : 0, 0, direction};
}

// The line of a call that the old table knows, for the new layout.
Line MovedLine(const Fact& from, const Fact& to, Line line) {
  line.number = to.number;
  line.size = to.size;
  MoveAll(from, to, &line.clients, &line.remark);
  MoveAll(from, to, &line.objects, &line.remark);
  std::vector<FdField> fds;
  for (const FdField& fd : line.fds)
    if (const auto now = Moved(from, to, fd.offset)) fds.push_back({static_cast<uint16_t>(*now), fd.use});
  line.fds = fds;
  if (line.share_policy) line.share_policy = Moved(from, to, *line.share_policy);
  if (line.status) line.status = Moved(from, to, *line.status);
  std::vector<Pointer> pointers;
  for (const FactField& field : to.fields) {
    if (field.role != "buffer" && field.role != "address") continue;
    const FactField* before = from.Find(field.name);
    const auto old = std::find_if(line.pointers.begin(), line.pointers.end(), [&](const Pointer& pointer) {
      return before != nullptr && pointer.offset == before->offset;
    });
    // Members of a union share a place.
    if (!pointers.empty() && pointers.back().offset == field.offset) continue;
    if (old != line.pointers.end()) {
      Pointer pointer = PointerOf(field, old->direction);
      pointer.size_max = old->size_max;
      pointers.push_back(pointer);
    } else if (field.role == "buffer") {
      pointers.push_back(PointerOf(field, Direction::kInOut));
      line.remark += "new pointer " + field.name + " ";
    }
  }
  line.pointers = pointers;
  return line;
}

// The line of a call that is new.
Line NewLine(const Fact& fact) {
  Line line;
  line.kind = fact.kind;
  line.name = fact.name;
  line.number = fact.number;
  line.size = fact.size;
  line.withheld = true;
  for (const FactField& field : fact.fields) {
    if (field.role == "client")
      for (uint32_t i = 0; i < field.repeat; ++i) line.clients.push_back(field.offset + 4 * i);
    if (field.role == "fd") line.fds.push_back({static_cast<uint16_t>(field.offset), FdUse::kFile});
    if (field.role == "object") line.objects.push_back(field.offset);
    if (field.role == "share") line.share_policy = field.offset;
    if (field.role == "status") line.status = field.offset;
    if (field.role == "buffer") line.pointers.push_back(PointerOf(field, Direction::kInOut));
  }
  line.remark = "new";
  return line;
}

// A call is known by its name; the two structs of NV_ESC_RM_ALLOC by theirs as well.
std::string NameOf(const Fact& fact) {
  return fact.kind + " " + fact.name + (fact.kind == "escape" ? " " + fact.struct_name : "");
}

int PrintNeeds(const Table& old_table, const std::string& facts_path) {
  std::string problem;
  const auto old_facts =
      ReadFacts("proto/abi/facts/" + std::string(old_table.driver_version) + ".csv", &problem);
  const auto new_facts = old_facts ? ReadFacts(facts_path, &problem) : std::nullopt;
  if (!new_facts) {
    std::fprintf(stderr, "differ: %s\n", problem.c_str());
    return 1;
  }
  const Lines from = LinesOf(old_table);
  std::map<std::string, std::pair<const Fact*, const Line*>> known;
  for (const Fact& fact : *old_facts)
    for (uint32_t size : {0u, fact.size})
      if (const auto line = from.find({fact.kind, fact.number, size}); line != from.end())
        known[NameOf(fact)] = {&fact, &line->second};
  Lines to;
  for (const Fact& fact : *new_facts) {
    if (fact.kind == "struct") continue;
    const auto old = known.find(NameOf(fact));
    Line line = old == known.end() ? NewLine(fact) : MovedLine(*old->second.first, fact, *old->second.second);
    const uint32_t size = line.shape == Shape::kAlloc ? line.size : 0;
    to[{line.kind, line.number, size}] = std::move(line);
  }
  PrintDifference(from, to);
  return 0;
}

int Usage() {
  std::fprintf(stderr, "usage: differ OLD NEW\n       differ OLD --facts NEW.csv\nknown versions:");
  for (const Table* table : Tables()) std::fprintf(stderr, " %s", std::string(table->driver_version).c_str());
  std::fprintf(stderr, "\n");
  return 2;
}

int Main(int argc, char** argv) {
  const Table* old_table = argc < 3 ? nullptr : FindTable(argv[1]);
  if (old_table == nullptr) return Usage();
  if (argc == 4 && std::string(argv[2]) == "--facts") return PrintNeeds(*old_table, argv[3]);
  const Table* new_table = argc == 3 ? FindTable(argv[2]) : nullptr;
  if (new_table == nullptr) return Usage();
  PrintDifference(LinesOf(*old_table), LinesOf(*new_table));
  return 0;
}

}  // namespace
}  // namespace nvshim::abi

int main(int argc, char** argv) { return nvshim::abi::Main(argc, argv); }
