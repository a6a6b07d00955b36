#include "testing/bench/bench.h"

#include <sched.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

namespace nvshim::bench {

void Die(const char* what) {
  std::perror(what);
  std::_Exit(1);
}

void StayOn(int cpu) {
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  CPU_SET(cpu, &cpus);
  if (sched_setaffinity(0, sizeof(cpus), &cpus) != 0) Die("sched_setaffinity");
}

void Append(std::vector<double>& to, const std::vector<double>& from) {
  to.insert(to.end(), from.begin(), from.end());
}

double Percentile(std::vector<double> values, double percent) {
  if (values.empty()) Die("a percentile of nothing");
  const size_t index =
      std::min(values.size() - 1, static_cast<size_t>(static_cast<double>(values.size()) * percent / 100));
  const auto at = values.begin() + static_cast<std::ptrdiff_t>(index);
  std::nth_element(values.begin(), at, values.end());
  return *at;
}

void Report(const std::string& name, double value, const char* unit) {
  std::printf(
      "{\"name\":\"%s\",\"value\":%.6g,\"unit\":\"%s\",\"peer\":null,\"peer_value\":null,\"ratio\":null}\n",
      name.c_str(), value, unit);
  std::fflush(stdout);
}

void Report(const std::string& name, double value, const char* unit, const std::string& peer,
            double peer_value) {
  std::printf(
      "{\"name\":\"%s\",\"value\":%.6g,\"unit\":\"%s\",\"peer\":\"%s\",\"peer_value\":%.6g,\"ratio\":%.4g}\n",
      name.c_str(), value, unit, peer.c_str(), peer_value, value / peer_value);
  std::fflush(stdout);
}

}  // namespace nvshim::bench
