// BrokerStatistics as JSON: what `gpu-brokerctl stats` prints. 64-bit counters are JSON numbers.
#ifndef BROKER_SUPERVISOR_STATISTICS_JSON_H_
#define BROKER_SUPERVISOR_STATISTICS_JSON_H_

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "broker/core/resource.h"
#include "proto/control.pb.h"

namespace nvshim::broker {

// By kind: what is used and what may be; null is no limit. Of frames per second nothing is held.
nlohmann::ordered_json LimitsJson(const google::protobuf::RepeatedField<uint64_t>& used,
                                  const Amounts& limits);

std::string StatisticsJson(const BrokerStatistics& statistics);

}  // namespace nvshim::broker

#endif  // BROKER_SUPERVISOR_STATISTICS_JSON_H_
