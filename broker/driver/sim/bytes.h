// The bytes of one call segment, behind checks. Callers of the simulated driver are hostile: a struct may be
// shorter than its number promises. A read outside yields 0 and a write outside is dropped, so that no
// handler needs a length check to be safe; handlers that must refuse a short struct ask Has(). Not an owner,
// not thread-safe.
#ifndef BROKER_DRIVER_SIM_BYTES_H_
#define BROKER_DRIVER_SIM_BYTES_H_

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <type_traits>

namespace nvshim::broker::sim {

class Bytes {
 public:
  Bytes() = default;
  explicit Bytes(std::span<uint8_t> bytes) : bytes_(bytes) {}

  size_t size() const { return bytes_.size(); }
  bool empty() const { return bytes_.empty(); }

  bool Has(size_t offset, size_t size_bytes) const {
    return offset <= bytes_.size() && size_bytes <= bytes_.size() - offset;
  }

  template <typename T>
  T Get(size_t offset) const {
    static_assert(std::is_trivially_copyable_v<T>);
    T value{};
    if (Has(offset, sizeof(T))) std::memcpy(&value, bytes_.data() + offset, sizeof(T));
    return value;
  }
  uint32_t U32(size_t offset) const { return Get<uint32_t>(offset); }
  uint64_t U64(size_t offset) const { return Get<uint64_t>(offset); }

  template <typename T>
  void Put(size_t offset, T value) {
    static_assert(std::is_trivially_copyable_v<T>);
    if (Has(offset, sizeof(T))) std::memcpy(bytes_.data() + offset, &value, sizeof(T));
  }
  void PutU8(size_t offset, uint8_t value) { Put(offset, value); }
  void PutU16(size_t offset, uint16_t value) { Put(offset, value); }
  void PutU32(size_t offset, uint32_t value) { Put(offset, value); }
  void PutU64(size_t offset, uint64_t value) { Put(offset, value); }

  // The part from `offset` on, at most `size_bytes`; empty when it lies outside.
  Bytes Sub(size_t offset, size_t size_bytes = SIZE_MAX) const {
    if (offset >= bytes_.size()) return Bytes();
    return Bytes(bytes_.subspan(offset, std::min(size_bytes, bytes_.size() - offset)));
  }

  void Fill(uint8_t value) { std::fill(bytes_.begin(), bytes_.end(), value); }

  // `text` with a NUL in a field of `field_bytes`; the rest of the field becomes 0, a longer text is cut.
  void PutString(size_t offset, size_t field_bytes, std::string_view text) {
    Bytes field = Sub(offset, field_bytes);
    if (field.empty()) return;
    field.Fill(0);
    std::memcpy(field.bytes_.data(), text.data(), std::min(text.size(), field.size() - 1));
  }
  void PutBytes(size_t offset, std::span<const uint8_t> source) {
    if (Has(offset, source.size()) && !source.empty())
      std::memcpy(bytes_.data() + offset, source.data(), source.size());
  }

  std::span<uint8_t> span() const { return bytes_; }

 private:
  std::span<uint8_t> bytes_;
};

}  // namespace nvshim::broker::sim

#endif  // BROKER_DRIVER_SIM_BYTES_H_
