// What Prometheus is told: the broker's statistics as families of samples. The kinds of the ledger give their
// own names (broker/core/resource.h), the rest are tables. docs/metrics.md shows all of them. Pure.
#ifndef BROKER_EXPORTER_METRICS_H_
#define BROKER_EXPORTER_METRICS_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "proto/control.pb.h"

namespace nvshim::broker {

enum class MetricType : uint8_t { kGauge, kCounter };

using Labels = std::vector<std::pair<std::string_view, std::string>>;

struct Sample {
  Labels labels;
  uint64_t value;
};

struct Family {
  std::string name;
  MetricType type;
  std::string unit;                      // in words
  std::string help;                      // one line
  std::vector<std::string_view> labels;  // that its samples may have
  std::vector<Sample> samples;
};

// All families there are, in an order that does not change; those that have nothing to say are without
// samples. Of a broker that is not there (null) only gpubroker_up says something. `hostname` is this
// machine's.
std::vector<Family> Collect(const BrokerStatistics* statistics, std::string_view hostname);

}  // namespace nvshim::broker

#endif  // BROKER_EXPORTER_METRICS_H_
