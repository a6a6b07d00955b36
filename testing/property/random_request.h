// Random ioctl requests: most of them the ordinary ones of a client at work, with handles and files drawn
// from few numbers so that they meet, some with a part wrong, some nothing but nonsense that keeps the
// framing's rules (segments inside the buffer, parents before children).
#ifndef TESTING_PROPERTY_RANDOM_REQUEST_H_
#define TESTING_PROPERTY_RANDOM_REQUEST_H_

#include <cstdint>
#include <random>
#include <vector>

#include "broker/core/event.h"
#include "broker/driver/call.h"

namespace nvshim::broker {

// A stream of numbers that is the same for a seed on every machine and with every library.
class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}
  // Below `bound`, which is not 0.
  uint32_t Below(uint32_t bound) { return static_cast<uint32_t>(engine_() % bound); }
  bool OneIn(uint32_t n) { return Below(n) == 0; }

 private:
  std::mt19937_64 engine_;
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

// A request for a file of class `device_class`, most of the time.
RandomRequest MakeRandomRequest(Random& random, DeviceClass device_class, const Hints& hints);

}  // namespace nvshim::broker

#endif  // TESTING_PROPERTY_RANDOM_REQUEST_H_
