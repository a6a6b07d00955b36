// What happened in a simulated world: its last events as text, and a hash over all of them and of every
// action of the core, byte for byte.
#ifndef TESTING_SIM_WORLD_TRACE_H_
#define TESTING_SIM_WORLD_TRACE_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <string_view>

#include "testing/property/transcript.h"

namespace nvshim::testing {

class Trace {
 public:
  void Add(std::string event) {
    Hash(event);
    last_.push_back(std::move(event));
    if (last_.size() > kEventsKept) last_.pop_front();
  }
  void Add(const broker::Action& action) {
    broker::Transcript transcript;
    transcript.Add(action);
    Hash(transcript.text());
  }

  uint64_t hash() const { return hash_; }
  // One event a line, the oldest first.
  std::string Last() const {
    std::string text;
    for (const std::string& event : last_) text += event + "\n";
    return text;
  }

 private:
  static constexpr size_t kEventsKept = 40;

  // FNV-1a.
  void Hash(std::string_view bytes) {
    for (const char byte : bytes) hash_ = (hash_ ^ static_cast<uint8_t>(byte)) * 0x100000001b3;
  }

  uint64_t hash_ = 0xcbf29ce484222325;
  std::deque<std::string> last_;
};

}  // namespace nvshim::testing

#endif  // TESTING_SIM_WORLD_TRACE_H_
