// Compiles ABI tables (text-format AbiTable files) into one C++ source of constexpr arrays, the definition of
// abi::Tables(). A table may be told as its difference from one before it. Runs at build time only.
#ifndef PROTO_ABI_TABLE_COMPILER_H_
#define PROTO_ABI_TABLE_COMPILER_H_

#include <istream>
#include <ostream>
#include <string>
#include <vector>

#include "proto/abi.pb.h"

namespace nvshim::abi {

// False when the text is no AbiTable.
bool ReadTable(std::istream& in, AbiTable* table);

// Writes the source for `tables`, the base of each before it. Returns what the tables contradict themselves
// in, each with the line's name; the source is of use when that is nothing.
std::vector<std::string> CompileTables(const std::vector<AbiTable>& tables, std::ostream& out);

}  // namespace nvshim::abi

#endif  // PROTO_ABI_TABLE_COMPILER_H_
