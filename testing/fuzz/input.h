// The bytes of a fuzzer's input, read as small numbers; zeros when they are used up.
#ifndef TESTING_FUZZ_INPUT_H_
#define TESTING_FUZZ_INPUT_H_

#include <cstddef>
#include <cstdint>
#include <vector>

namespace nvshim::testing {

class Input {
 public:
  Input(const uint8_t* data, size_t size) : data_(data), left_(size) {}
  bool empty() const { return left_ == 0; }
  uint8_t Byte() {
    if (left_ == 0) return 0;
    --left_;
    return *data_++;
  }
  uint32_t Word() { return Byte() | Byte() << 8 | Byte() << 16 | static_cast<uint32_t>(Byte()) << 24; }
  std::vector<uint8_t> Bytes(size_t size) {
    std::vector<uint8_t> bytes(size);
    for (uint8_t& byte : bytes) byte = Byte();
    return bytes;
  }

 private:
  const uint8_t* data_;
  size_t left_;
};

}  // namespace nvshim::testing

#endif  // TESTING_FUZZ_INPUT_H_
