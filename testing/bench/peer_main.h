// The loop of a peer that is a program of its own: `PROGRAM SIZE apart|anywhere` reads lines "times pause_us"
// and answers each with a number (size_t) and that many doubles, microseconds per exchange.
#ifndef TESTING_BENCH_PEER_MAIN_H_
#define TESTING_BENCH_PEER_MAIN_H_

#include <cstdio>

#include "testing/bench/bench.h"

namespace nvshim::bench {

template <typename Call>
int ServeMeasurements(Call& call) {
  int times;
  long pause_us;
  while (std::scanf("%d %ld", &times, &pause_us) == 2) {
    const auto microseconds = Measure(call, times, std::chrono::microseconds(pause_us));
    const size_t count = microseconds.size();
    std::fwrite(&count, sizeof(count), 1, stdout);
    std::fwrite(microseconds.data(), sizeof(double), microseconds.size(), stdout);
    std::fflush(stdout);
  }
  return 0;
}

}  // namespace nvshim::bench

#endif  // TESTING_BENCH_PEER_MAIN_H_
