// Fuzzer of the reader of ABI tables: texts, one behind the other, separated by a line of "----". What it
// accepts must hold together: every field inside its struct, numbers that its C++ can say, names that end no
// string.
#include <google/protobuf/stubs/logging.h>

#include <cstdint>
#include <cstdlib>
#include <sstream>
#include <string>
#include <vector>

#include "proto/abi/table_compiler.h"

namespace nvshim::testing {
namespace {

constexpr char kSeparator[] = "\n----\n";

void Require(bool holds) {
  if (!holds) abort();
}

void RequireSound(const abi::Spec& spec) {
  const auto inside = [&](uint64_t offset, uint64_t width) {
    Require(offset + width <= spec.size() && offset < 0xffff);
  };
  for (const abi::Pointer& pointer : spec.pointer()) {
    inside(pointer.offset(), 8);
    if (pointer.has_count_offset()) inside(pointer.count_offset(), 4);
  }
  for (const abi::FdField& fd : spec.fd()) inside(fd.offset(), 4);
  for (uint32_t offset : spec.client()) inside(offset, 4);
  for (uint32_t offset : spec.object()) inside(offset, 4);
  if (spec.has_status()) inside(spec.status(), 4);
  Require(spec.name().find_first_of("\"\\\n") == std::string::npos);
}

void RequireSound(const abi::AbiTable& table) {
  for (const auto& spec : table.escape()) RequireSound(spec);
  for (const auto& spec : table.control()) RequireSound(spec);
  for (const auto& spec : table.class_()) RequireSound(spec);
  for (const auto& spec : table.uvm()) RequireSound(spec);
  if (table.has_gss_legacy()) RequireSound(table.gss_legacy());
  Require(table.driver_version().find_first_not_of("0123456789.") == std::string::npos);
}

void Run(const std::string& text) {
  std::vector<abi::AbiTable> tables;
  for (size_t from = 0; from <= text.size() && tables.size() < 4;) {
    const size_t to = std::min(text.find(kSeparator, from), text.size());
    std::istringstream in(text.substr(from, to - from));
    abi::AbiTable table;
    if (!abi::ReadTable(in, &table)) return;
    tables.push_back(std::move(table));
    from = to + sizeof(kSeparator) - 1;
  }
  std::ostringstream out;
  if (!abi::CompileTables(tables, out).empty()) return;
  for (const abi::AbiTable& table : tables) RequireSound(table);
}

}  // namespace
}  // namespace nvshim::testing

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const google::protobuf::LogSilencer silent;
  nvshim::testing::Run(std::string(reinterpret_cast<const char*>(data), size));
  return 0;
}
