// One driver version as its own headers have it: numbers by name, and structs whose fields are found by name.
// All of it comes from the facts that a compiler measured (proto/abi/facts), none from the tables that shim
// and broker share, so that a mistake in those shows itself.
//
// For guest programs of one thread; what is not as it must be ends the program (victim::Law).
#ifndef TESTING_RM_CLIENT_DIALECT_H_
#define TESTING_RM_CLIENT_DIALECT_H_

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "proto/abi/facts.h"
#include "testing/e2e/victims/rm.h"

namespace nvshim::rm_client {

class Dialect {
 public:
  // `path` is that of proto/abi/facts/VERSION.csv.
  explicit Dialect(const std::string& path);

  // The call of this name, or null when the version has none. The kind is escape, uvm, class or control.
  const abi::Fact* Find(std::string_view kind, std::string_view name) const;
  // The class of this number, or null.
  const abi::Fact* FindClass(uint32_t number) const;

  uint32_t SizeOf(std::string_view struct_name) const;
  const abi::FactField* FindField(std::string_view struct_name, std::string_view field) const;

 private:
  std::vector<abi::Fact> facts_;
};

// A struct, or an array of one kind, that goes to the driver: zeros at first, and bytes behind it that must
// stay.
class Params {
 public:
  Params(const Dialect& dialect, std::string_view struct_name, uint32_t count = 1);

  void* data() { return bytes_.data(); }
  uint32_t size() const { return size_; }
  const std::string& struct_name() const { return struct_name_; }
  bool Has(std::string_view field) const { return dialect_.FindField(struct_name_, field) != nullptr; }
  uint32_t OffsetOf(std::string_view field) const;

  // `extra` bytes behind the start of the field.
  template <typename T = uint32_t>
  T Get(std::string_view field, uint32_t extra = 0) const {
    return GetAt<T>(OffsetOf(field) + extra);
  }
  template <typename T>
  T GetAt(uint32_t offset) const {
    victim::Law(offset + sizeof(T) <= size_, "%s has %u bytes, asked at %u", struct_name_.c_str(), size_,
                offset);
    T value;
    std::memcpy(&value, bytes_.data() + offset, sizeof(T));
    return value;
  }
  template <typename T = uint32_t>
  Params& Set(std::string_view field, T value, uint32_t extra = 0) {
    const uint32_t offset = OffsetOf(field) + extra;
    victim::Law(offset + sizeof(T) <= size_, "%s has %u bytes, set at %u", struct_name_.c_str(), size_,
                offset);
    std::memcpy(bytes_.data() + offset, &value, sizeof(T));
    return *this;
  }
  // The text that begins at the field, up to its NUL.
  std::string Text(std::string_view field) const;
  bool IsZeroFrom(uint32_t offset) const;
  // What lies behind the struct is as it was.
  void CheckGuard() const;

 private:
  static constexpr size_t kGuardBytes = 64;
  static constexpr uint8_t kGuard = 0xa5;

  const Dialect& dialect_;
  std::string struct_name_;
  uint32_t size_;
  std::vector<uint8_t> bytes_;
};

}  // namespace nvshim::rm_client

#endif  // TESTING_RM_CLIENT_DIALECT_H_
