#include "broker/supervisor/statistics_json.h"

#include <nlohmann/json.hpp>

namespace nvshim::broker {
namespace {

using Json = nlohmann::ordered_json;

Json CountsJson(const google::protobuf::Map<std::string, uint64_t>& counts) {
  nlohmann::json sorted = nlohmann::json::object();
  for (const auto& [name, count] : counts) sorted[name] = count;
  return sorted;
}

Json GuestJson(const GuestStatistics& guest) {
  return {{"guest", guest.guest_id()},
          {"name", guest.name()},
          {"worker_pid", guest.worker_pid()},
          {"processes", guest.processes()},
          {"files", guest.files()},
          {"clients", guest.clients()},
          {"objects", guest.objects()},
          {"memory_bytes", guest.memory_bytes()},
          {"memory_quota_bytes", guest.memory_quota_bytes()},
          {"opens_total", guest.opens_total()},
          {"ioctls_total", guest.ioctls_total()},
          {"driver_calls_total", guest.driver_calls_total()},
          {"would_be_denied_total", guest.would_be_denied_total()},
          {"refusals_total", CountsJson(guest.refusals_total())}};
}

Json WorkerJson(const WorkerStatistics& worker) {
  Json guests = Json::array();
  for (const GuestStatistics& guest : worker.guests()) guests.push_back(GuestJson(guest));
  return {{"pid", worker.pid()},
          {"guests", guests},
          {"unknown_calls_total", CountsJson(worker.unknown_calls())},
          {"skipped_kernels_total", worker.skipped_kernels()}};
}

}  // namespace

std::string StatisticsJson(const BrokerStatistics& statistics) {
  Json workers = Json::array();
  for (const WorkerStatistics& worker : statistics.workers()) workers.push_back(WorkerJson(worker));
  const Json json = {{"driver", statistics.driver()},
                     {"driver_version", statistics.driver_version()},
                     {"guests", statistics.guests()},
                     {"processes", statistics.processes()},
                     {"files", statistics.files()},
                     {"clients", statistics.clients()},
                     {"objects", statistics.objects()},
                     {"frames", statistics.frames()},
                     {"memory_bytes", statistics.memory_bytes()},
                     {"refusals", statistics.refusals()},
                     {"workers", workers}};
  // Guest names hold cgroup paths, which need not be UTF-8.
  return json.dump(2, ' ', false, Json::error_handler_t::replace);
}

}  // namespace nvshim::broker
