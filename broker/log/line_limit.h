// How many lines a guest may cause: some at once, and then one from time to time. Not for several threads at
// once.
#ifndef BROKER_LOG_LINE_LIMIT_H_
#define BROKER_LOG_LINE_LIMIT_H_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/container/flat_hash_map.h"

namespace nvshim::broker {

class LineLimit {
 public:
  using Clock = std::chrono::steady_clock;

  // A start with everything that can go wrong in it fits; a guest that goes on all day fills a few megabytes.
  static constexpr int kLinesAtOnce = 20;
  static constexpr std::chrono::seconds kOneMoreEvery{10};
  // Guests that are told apart. As many as a supervisor lets in.
  static constexpr size_t kGuestsMax = 4096;

  // Whether `guest` may have a line now: how many were left out since its last one. Nothing: left out.
  std::optional<uint64_t> Take(std::string_view guest, Clock::time_point now);

  size_t guests() const { return guests_.size(); }

 private:
  struct Guest {
    Clock::time_point paid_until;  // kOneMoreEvery later with each line
    uint64_t left_out = 0;
  };

  void ForgetQuietGuests(Clock::time_point now);

  absl::flat_hash_map<std::string, Guest> guests_;
};

}  // namespace nvshim::broker

#endif  // BROKER_LOG_LINE_LIMIT_H_
