#include "broker/supervisor/statistics_json.h"

#include <nlohmann/json.hpp>
#include <string>

#include "broker/io/limits_message.h"

namespace nvshim::broker {
namespace {

using Json = nlohmann::ordered_json;

Json CountsJson(const google::protobuf::Map<std::string, uint64_t>& counts) {
  nlohmann::json sorted = nlohmann::json::object();
  for (const auto& [name, count] : counts) sorted[name] = count;
  return sorted;
}

Json GuestLimitsJson(const GuestStatistics& guest) {
  Json json = LimitsJson(guest.used(), LimitsOf(guest));
  for (int i = 0; i < static_cast<int>(kResourceCount); ++i)
    json[std::string(kResources[static_cast<size_t>(i)].name)]["refused_total"] =
        i < guest.refused_total_size() ? guest.refused_total(i) : 0;
  return json;
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
          {"refusals_total", CountsJson(guest.refusals_total())},
          {"limits", GuestLimitsJson(guest)}};
}

Json WorkerJson(const WorkerStatistics& worker) {
  Json guests = Json::array();
  for (const GuestStatistics& guest : worker.guests()) guests.push_back(GuestJson(guest));
  return {{"pid", worker.pid()},
          {"guests", guests},
          {"unknown_calls_total", CountsJson(worker.unknown_calls())},
          {"skipped_kernels_total", worker.skipped_kernels()}};
}

// Null: the driver does not tell.
Json GpuJson(const GpuStatistics& gpu) {
  return {{"minor", gpu.minor()},
          {"bus_id", gpu.bus_id()},
          {"name", gpu.name()},
          {"uuid", gpu.uuid()},
          {"memory_bytes", gpu.memory_bytes() == 0 ? Json() : Json(gpu.memory_bytes())}};
}

}  // namespace

Json LimitsJson(const google::protobuf::RepeatedField<uint64_t>& used, const Amounts& limits) {
  Json json = Json::object();
  for (size_t i = 0; i < kResourceCount; ++i) {
    const uint64_t limit = limits[static_cast<Resource>(i)];
    Json& kind = json[std::string(kResources[i].name)];
    if (kResources[i].unit != Unit::kPerSecond)
      kind["used"] = static_cast<int>(i) < used.size() ? used[static_cast<int>(i)] : 0;
    kind["limit"] = limit == kNoLimit ? Json() : Json(limit);
  }
  return json;
}

std::string StatisticsJson(const BrokerStatistics& statistics) {
  const broker::Limits uid_limits = LimitsIn(statistics.uid_limits(), NoLimits());
  Json workers = Json::array();
  for (const WorkerStatistics& worker : statistics.workers()) workers.push_back(WorkerJson(worker));
  Json uids = Json::array();
  for (const UidStatistics& uid : statistics.uids())
    uids.push_back({{"uid", uid.uid()}, {"limits", LimitsJson(uid.used(), uid_limits)}});
  Json gpus = Json::array();
  for (const GpuStatistics& gpu : statistics.gpus()) gpus.push_back(GpuJson(gpu));
  const Json json = {{"version", statistics.version()},
                     {"driver", statistics.driver()},
                     {"driver_version", statistics.driver_version()},
                     {"gpus", gpus},
                     {"guests", statistics.guests()},
                     {"processes", statistics.processes()},
                     {"files", statistics.files()},
                     {"clients", statistics.clients()},
                     {"objects", statistics.objects()},
                     {"frames", statistics.frames()},
                     {"memory_bytes", statistics.memory_bytes()},
                     {"refusals", statistics.refusals()},
                     {"uids", uids},
                     {"workers", workers}};
  // Guest names hold cgroup paths, which need not be UTF-8.
  return json.dump(2, ' ', false, Json::error_handler_t::replace);
}

}  // namespace nvshim::broker
