#include "proto/abi/facts.h"

#include <fstream>
#include <regex>
#include <sstream>

namespace nvshim::abi {
namespace {

uint32_t Number(const std::string& text) { return static_cast<uint32_t>(std::stoul(text, nullptr, 0)); }

bool ParseField(const std::string& text, FactField* field) {
  // role : name @ offset, then *repeat, :width or =length; a length is ?, bytes, or name@offset*bytes.
  static const std::regex kForm(
      R"(([a-z]+):([A-Za-z0-9_.\[\]]+)@(\d+)(?:\*(\d+)|:(\d+)|=(\?)|=(\d+)|=\w+@(\d+)\*(\d+))?)");
  std::smatch match;
  if (!std::regex_match(text, match, kForm)) return false;
  field->role = match[1];
  field->name = match[2];
  field->offset = Number(match[3]);
  if (match[4].matched) field->repeat = Number(match[4]);
  if (match[5].matched) field->width = Number(match[5]);
  if (match[7].matched) field->element_size = Number(match[7]);
  if (match[8].matched) {
    field->count_offset = Number(match[8]);
    field->element_size = Number(match[9]);
  }
  return true;
}

bool ParseRow(const std::string& line, Fact* fact) {
  static const std::regex kForm(R"((\w+),(0x[0-9a-f]+),(\w+),([\w-]+),(\d+),(.*))");
  std::smatch match;
  if (!std::regex_match(line, match, kForm)) return false;
  fact->kind = match[1];
  fact->number = Number(match[2]);
  fact->name = match[3];
  fact->struct_name = match[4];
  fact->size = Number(match[5]);
  std::istringstream fields(match[6]);
  for (std::string text; fields >> text;)
    if (!ParseField(text, &fact->fields.emplace_back())) return false;
  return true;
}

}  // namespace

const FactField* Fact::Find(std::string_view name) const {
  for (const FactField& field : fields)
    if (field.name == name) return &field;
  return nullptr;
}

std::optional<std::vector<Fact>> ReadFacts(const std::string& path, std::string* problem) {
  std::ifstream in(path);
  std::vector<Fact> facts;
  std::string line;
  if (!std::getline(in, line)) {
    *problem = path + ": cannot be read";
    return std::nullopt;
  }
  while (std::getline(in, line))
    if (!ParseRow(line, &facts.emplace_back())) {
      *problem = path + ": not understood: " + line;
      return std::nullopt;
    }
  return facts;
}

}  // namespace nvshim::abi
