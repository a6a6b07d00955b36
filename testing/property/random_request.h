// Random ioctl requests: most of them the ordinary ones of a client at work, with handles and files drawn
// from few numbers so that they meet, some with a part wrong, some nothing but nonsense that keeps the
// framing's rules (segments inside the buffer, parents before children).
#ifndef TESTING_PROPERTY_RANDOM_REQUEST_H_
#define TESTING_PROPERTY_RANDOM_REQUEST_H_

#include <cstdint>
#include <span>
#include <vector>

#include "broker/core/event.h"
#include "broker/driver/call.h"
#include "proto/abi/spec.h"

namespace nvshim::broker {

// A stream of numbers: from a seed, the same on every machine and with every library; or out of the bytes of
// a fuzzer's input, zeros when they are used up.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  explicit Random(std::span<const uint8_t> bytes) : from_bytes_(true), bytes_(bytes) {}

  // Below `bound`, which is not 0.
  uint32_t Below(uint32_t bound) {
    return static_cast<uint32_t>((from_bytes_ ? FromBytes(bound) : Next()) % bound);
  }
  bool OneIn(uint32_t n) { return Below(n) == 0; }
  bool used_up() const { return from_bytes_ && bytes_.empty(); }

 private:
  // SplitMix64: a seed costs nothing, so that each step of a history can have its own.
  uint64_t Next() {
    state_ += 0x9e3779b97f4a7c15;
    uint64_t z = state_;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
  }
  uint64_t FromBytes(uint32_t bound) {
    uint64_t value = 0;
    for (uint32_t reach = 1; reach != 0 && reach < bound; reach <<= 8) value = value << 8 | Byte();
    return value;
  }
  uint8_t Byte() {
    if (bytes_.empty()) return 0;
    const uint8_t byte = bytes_.front();
    bytes_ = bytes_.subspan(1);
    return byte;
  }

  uint64_t state_ = 0;
  bool from_bytes_ = false;
  std::span<const uint8_t> bytes_;
};

struct RandomRequest {
  DriverCall call;
  std::vector<FileReferenceUntrusted> files;
};

// Numbers worth naming, most of the time.
struct Hints {
  std::vector<uint32_t> files;
  std::vector<uint32_t> clients;
};

// A request of the version that `table` describes, for a file of class `device_class`, most of the time.
RandomRequest MakeRandomRequest(Random& random, const abi::Table& table, DeviceClass device_class,
                                const Hints& hints);

}  // namespace nvshim::broker

#endif  // TESTING_PROPERTY_RANDOM_REQUEST_H_
