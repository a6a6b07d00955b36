// Compiles the ABI tables (table_compiler.h) at build time; a table that contradicts itself fails the build
// with the line's name.
//   generate OUT.cc TABLE.textproto...
#include <cstdio>
#include <fstream>
#include <vector>

#include "proto/abi/table_compiler.h"

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: generate OUT.cc TABLE.textproto...\n");
    return 2;
  }
  std::vector<nvshim::abi::AbiTable> tables(static_cast<size_t>(argc - 2));
  for (int i = 2; i < argc; ++i) {
    std::ifstream in(argv[i]);
    if (in.is_open() && nvshim::abi::ReadTable(in, &tables[static_cast<size_t>(i - 2)])) continue;
    std::fprintf(stderr, "%s: cannot be read as nvshim.abi.AbiTable\n", argv[i]);
    return 1;
  }
  std::ofstream out(argv[1]);
  const std::vector<std::string> problems = nvshim::abi::CompileTables(tables, out);
  for (const std::string& problem : problems) std::fprintf(stderr, "%s\n", problem.c_str());
  return problems.empty() ? 0 : 1;
}
