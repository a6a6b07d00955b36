// BrokerStatistics as JSON: what `gpu-brokerctl stats` prints. 64-bit counters are JSON numbers.
#ifndef BROKER_SUPERVISOR_STATISTICS_JSON_H_
#define BROKER_SUPERVISOR_STATISTICS_JSON_H_

#include <string>

#include "proto/control.pb.h"

namespace nvshim::broker {

std::string StatisticsJson(const BrokerStatistics& statistics);

}  // namespace nvshim::broker

#endif  // BROKER_SUPERVISOR_STATISTICS_JSON_H_
