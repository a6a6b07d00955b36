// Counts the numbers that the simulated driver does not know and reports each of them once: the list of what
// to add next. Numbers that it knows and refuses on purpose are not counted.
#ifndef BROKER_DRIVER_SIM_UNKNOWNS_H_
#define BROKER_DRIVER_SIM_UNKNOWNS_H_

#include <cstdint>
#include <functional>
#include <set>
#include <string_view>
#include <utility>

namespace nvshim::broker::sim {

enum class NumberSpace : uint8_t { kControl, kClass, kEscape, kUvm };

struct UnknownCounts {
  uint64_t controls = 0;
  uint64_t classes = 0;
  uint64_t escapes = 0;
  uint64_t uvm = 0;
};

class Unknowns {
 public:
  explicit Unknowns(std::function<void(std::string_view)> log) : log_(std::move(log)) {}

  // `size_bytes` is that of the parameters, part of the message.
  void Report(NumberSpace space, uint32_t number, uint32_t size_bytes);

  const UnknownCounts& counts() const { return counts_; }

 private:
  std::function<void(std::string_view)> log_;
  UnknownCounts counts_;
  std::set<std::pair<NumberSpace, uint32_t>> reported_;
};

}  // namespace nvshim::broker::sim

#endif  // BROKER_DRIVER_SIM_UNKNOWNS_H_
