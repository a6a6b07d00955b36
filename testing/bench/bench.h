// What the benchmarks share: a clock, percentiles, and the JSON lines that testing/bench/run makes a table
// of. A benchmark that cannot measure ends the program: a figure that is missing is seen, one that is wrong
// is not.
#ifndef TESTING_BENCH_BENCH_H_
#define TESTING_BENCH_BENCH_H_

#include <chrono>
#include <string>
#include <thread>
#include <vector>

namespace nvshim::bench {

using Clock = std::chrono::steady_clock;

inline double MicrosecondsSince(Clock::time_point start) {
  return std::chrono::duration<double, std::micro>(Clock::now() - start).count();
}

// Prints `what` and errno, and ends the process with status 1.
[[noreturn]] void Die(const char* what);

// Keeps this thread, and those that it starts, on one CPU.
void StayOn(int cpu);

// How long `call` takes, in microseconds, `times` times or until kBlockTimeMax is over, each after a pause if
// there is one. The pause up to kBusyPauseMax is spent looking at the clock, since no timer is as exact;
// beyond that, asleep.
inline constexpr std::chrono::microseconds kBusyPauseMax(200);
// Bounds what a slow peer on a busy machine adds to the whole.
inline constexpr std::chrono::milliseconds kBlockTimeMax(300);
template <typename Call>
std::vector<double> Measure(Call& call, int times, std::chrono::microseconds pause) {
  std::vector<double> microseconds;
  microseconds.reserve(static_cast<size_t>(times));
  const auto block_end = Clock::now() + kBlockTimeMax;
  for (int i = 0; i < times && Clock::now() < block_end; ++i) {
    if (pause > kBusyPauseMax) {
      std::this_thread::sleep_for(pause);
    } else if (pause.count() != 0) {
      const auto end = Clock::now() + pause;
      while (Clock::now() < end) {
      }
    }
    const auto start = Clock::now();
    call();
    microseconds.push_back(MicrosecondsSince(start));
  }
  return microseconds;
}

void Append(std::vector<double>& to, const std::vector<double>& from);

// The value below which `percent` of the values lie.
double Percentile(std::vector<double> values, double percent);

// One line {name, value, unit, peer, peer_value, ratio}, alone or beside a peer.
void Report(const std::string& name, double value, const char* unit);
void Report(const std::string& name, double value, const char* unit, const std::string& peer,
            double peer_value);

}  // namespace nvshim::bench

#endif  // TESTING_BENCH_BENCH_H_
