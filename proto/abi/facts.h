// Reads the layout facts of a driver version, proto/abi/facts/<version>.csv: what a C compiler says about the
// driver's own headers (facts/measure), for the calls in the table. Tables are written by people; facts are
// not. For tests and tools; nothing that runs beside a driver needs it.
//
// A row is kind,number,name,struct,size,fields. The kind is escape, uvm, class, control, or struct: one that
// code takes apart by itself. The struct is "-" where there is none, and "observed" where no header knows the
// call. A field is ROLE:NAME@OFFSET:
//   client:N@0 or N@24*64      handles of RM clients: one, or 64 in a row
//   object:N@4                 another handle, of an escape
//   fd:N@48 or N@16:8          a descriptor; in a field of 8 bytes
//   status:N@40                the NV_STATUS
//   share:N@8                  an RS_SHARE_POLICY
//   params:N@16                leads to the parameters of a control or class
//   buffer:N@8=COUNT@0*4       a pointer that the driver follows, to as many elements of 4 bytes as COUNT
//   says buffer:N@24=4              ... to 4 bytes;  buffer:N@24=? ... to as many as no single field says
//   address:N@96               of pointer type, and not followed: a number
//   field:N@64                 what code reads
#ifndef PROTO_ABI_FACTS_H_
#define PROTO_ABI_FACTS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace nvshim::abi {

struct FactField {
  std::string role, name;
  uint32_t offset = 0;
  uint32_t repeat = 1;                        // of a client
  uint32_t width = 4;                         // of an fd
  std::optional<uint32_t> count_offset = {};  // of a buffer; absent: one element
  uint32_t element_size = 0;                  // of a buffer; 0 = length told by no single field
};

struct Fact {
  std::string kind;
  uint32_t number = 0;
  std::string name, struct_name;
  uint32_t size = 0;
  std::vector<FactField> fields;

  // The field called `name`, in whatever role; or null.
  const FactField* Find(std::string_view name) const;
};

// All rows of the file at `path`; nothing when it cannot be read or a row is not understood (`problem` says
// which).
std::optional<std::vector<Fact>> ReadFacts(const std::string& path, std::string* problem);

}  // namespace nvshim::abi

#endif  // PROTO_ABI_FACTS_H_
