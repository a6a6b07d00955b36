// Virtual time: what is to happen, in the order of its time and, at one time, of its scheduling. Nothing
// waits for anything; a run of hours takes as long as its events.
#ifndef TESTING_SIM_WORLD_CLOCK_H_
#define TESTING_SIM_WORLD_CLOCK_H_

#include <cstdint>
#include <functional>
#include <map>
#include <utility>

namespace nvshim::testing {

class VirtualClock {
 public:
  uint64_t now_ns() const { return now_ns_; }

  // `what` happens `delay_ns` from now.
  void After(uint64_t delay_ns, std::function<void()> what) {
    due_.emplace(std::pair(now_ns_ + delay_ns, next_++), std::move(what));
  }

  // Lets the next thing happen. False when there is none.
  bool RunNext() {
    if (due_.empty()) return false;
    auto first = due_.extract(due_.begin());
    now_ns_ = first.key().first;
    first.mapped()();
    return true;
  }

 private:
  uint64_t now_ns_ = 0;
  uint64_t next_ = 0;
  std::map<std::pair<uint64_t, uint64_t>, std::function<void()>> due_;
};

}  // namespace nvshim::testing

#endif  // TESTING_SIM_WORLD_CLOCK_H_
