// Laws of what Prometheus is told: names and labels are as its rules want them; over all guests each family
// sums up to what the statistics say in total; names of guests stay apart whatever bytes they hold.
#include "broker/exporter/metrics.h"

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <regex>
#include <set>

#include "broker/core/resource.h"
#include "broker/exporter/exposition.h"
#include "broker/io/limits_message.h"

namespace nvshim::broker {
namespace {

constexpr uint64_t kMib = 1 << 20;

void AddGuest(const std::string& name, uint64_t seed, WorkerStatistics* worker) {
  GuestStatistics* guest = worker->add_guests();
  guest->set_name(name);
  for (size_t kind = 0; kind < kResourceCount; ++kind) {
    guest->add_used(seed * 100 + kind);
    guest->add_refused_total(seed * 1000 + kind);
  }
  PutLimits(NoLimits(), guest->mutable_limits());
  guest->set_memory_bytes(guest->used(0));
  guest->set_opens_total(seed + 1);
  guest->set_ioctls_total(seed + 2);
  guest->set_driver_calls_total(seed + 3);
  guest->set_would_be_denied_total(seed + 4);
  (*guest->mutable_refusals_total())["over_quota"] = seed + 5;
}

BrokerStatistics Example() {
  BrokerStatistics statistics;
  statistics.set_version("1.2.3");
  statistics.set_driver("sim");
  statistics.set_driver_version("535.261.03");
  AddGuest("uid 1000 /a.slice", 1, statistics.add_workers());
  WorkerStatistics* shared = statistics.add_workers();
  AddGuest("training", 2, shared);
  AddGuest("uid 1001 /b.slice", 3, shared);
  for (const WorkerStatistics& worker : statistics.workers())
    for (const GuestStatistics& guest : worker.guests()) {
      statistics.set_guests(statistics.guests() + 1);
      statistics.set_memory_bytes(statistics.memory_bytes() + guest.memory_bytes());
    }
  for (size_t kind = 0; kind < kResourceCount; ++kind) {
    statistics.mutable_uid_limits()->add_values(kNoLimit);
  }
  GpuStatistics* gpu = statistics.add_gpus();
  gpu->set_minor(0);
  gpu->set_bus_id("0000:0a:00.0");
  gpu->set_name("NVIDIA H100 80GB HBM3");
  gpu->set_uuid("GPU-1");
  gpu->set_memory_bytes(1000 * kMib);
  gpu->set_memory_reserved_bytes(100 * kMib);
  return statistics;
}

std::map<std::string, Family> ByName(const BrokerStatistics* statistics) {
  std::map<std::string, Family> families;
  for (Family& family : Collect(statistics, "host")) {
    const std::string name = family.name;
    EXPECT_TRUE(families.emplace(name, std::move(family)).second) << name << " is there twice";
  }
  return families;
}

std::map<std::string, std::string> Of(const Labels& labels) {
  std::map<std::string, std::string> map;
  for (const auto& [name, value] : labels) EXPECT_TRUE(map.emplace(name, value).second) << name;
  return map;
}

uint64_t Sum(const Family& family, const std::map<std::string, std::string>& with = {}) {
  uint64_t sum = 0;
  for (const Sample& sample : family.samples) {
    const auto labels = Of(sample.labels);
    bool fits = true;
    for (const auto& [name, value] : with) fits = fits && labels.contains(name) && labels.at(name) == value;
    if (fits) sum += sample.value;
  }
  return sum;
}

uint64_t Total(const BrokerStatistics& statistics,
               const std::function<uint64_t(const GuestStatistics&)>& of) {
  uint64_t total = 0;
  for (const WorkerStatistics& worker : statistics.workers())
    for (const GuestStatistics& guest : worker.guests()) total += of(guest);
  return total;
}

TEST(Metrics, NamesAndLabelsAreAsPrometheusWantsThem) {
  const BrokerStatistics statistics = Example();
  const std::regex own("gpubroker(_[a-z0-9]+)+"), dcgm("DCGM_FI_DEV_FB_(USED|FREE)");
  const std::regex label("[a-zA-Z][a-zA-Z0-9_]*");
  for (const auto& [name, family] : ByName(&statistics)) {
    EXPECT_TRUE(std::regex_match(name, own) || std::regex_match(name, dcgm)) << name;
    EXPECT_EQ(name.ends_with("_total"), family.type == MetricType::kCounter) << name;
    EXPECT_EQ(name.ends_with("_bytes"), family.unit == "bytes") << name;
    EXPECT_FALSE(family.help.empty()) << name;
    EXPECT_EQ(family.help.find_first_of("\n|"), std::string::npos) << name << ": its line in a table breaks";
    const std::set<std::string_view> allowed(family.labels.begin(), family.labels.end());
    std::set<std::map<std::string, std::string>> seen;
    for (const Sample& sample : family.samples) {
      EXPECT_TRUE(seen.insert(Of(sample.labels)).second) << name << ": two samples have the same labels";
      for (const auto& [label_name, value] : sample.labels) {
        EXPECT_TRUE(allowed.contains(label_name)) << name << " " << label_name;
        EXPECT_TRUE(std::regex_match(std::string(label_name), label)) << label_name;
      }
    }
  }
}

TEST(Metrics, SumsOverGuestsAreTheTotals) {
  const BrokerStatistics statistics = Example();
  const auto families = ByName(&statistics);
  EXPECT_EQ(families.at("gpubroker_guests").samples[0].value, 3);
  EXPECT_EQ(families.at("gpubroker_workers").samples[0].value, 2);
  EXPECT_EQ(Sum(families.at("gpubroker_guest_video_memory_bytes")), statistics.memory_bytes());
  for (const auto& [name, of] : std::map<std::string, std::function<uint64_t(const GuestStatistics&)>>{
           {"opens", &GuestStatistics::opens_total},
           {"ioctls", &GuestStatistics::ioctls_total},
           {"driver_calls", &GuestStatistics::driver_calls_total},
           {"would_be_denied", &GuestStatistics::would_be_denied_total},
           {"delayed_frames", [](const GuestStatistics& guest) { return guest.refused_total(9); }}})
    EXPECT_EQ(Sum(families.at("gpubroker_guest_" + name + "_total")), Total(statistics, of)) << name;
  const Family& refusals = families.at("gpubroker_guest_refusals_total");
  EXPECT_EQ(Sum(refusals), 6 + 7 + 8);
  EXPECT_EQ(Sum(refusals, {{"reason", "over_quota"}, {"guest", "training"}}), 7);
}

TEST(Metrics, EachKindOfTheLedgerIsThere) {
  const BrokerStatistics statistics = Example();
  const auto families = ByName(&statistics);
  const Family& refused = families.at("gpubroker_guest_limit_refusals_total");
  const char* const names[] = {"video_memory_bytes", "pinned_memory_bytes", "clients", "objects",
                               "channels",           "processes",           "files",   "lanes",
                               "call_bytes"};
  for (size_t kind = 0; kind < std::size(names); ++kind) {
    const auto total = [&](const GuestStatistics& guest) { return guest.used(static_cast<int>(kind)); };
    const auto limited = [&](const GuestStatistics& guest) {
      return guest.refused_total(static_cast<int>(kind));
    };
    EXPECT_EQ(Sum(families.at(std::string("gpubroker_guest_") + names[kind])), Total(statistics, total));
    EXPECT_TRUE(families.contains(std::string("gpubroker_uid_") + names[kind])) << names[kind];
    EXPECT_EQ(Sum(refused, {{"kind", std::string(kResources[kind].name)}}), Total(statistics, limited));
  }
  EXPECT_EQ(std::size(names) + 1, kResourceCount);  // frames per second are not held
  EXPECT_TRUE(families.contains("gpubroker_guest_frames_per_second_limit"));
  EXPECT_FALSE(families.contains("gpubroker_guest_frames_per_second"));
}

TEST(Metrics, WithoutALimitThereIsNoSample) {
  BrokerStatistics statistics = Example();
  EXPECT_TRUE(ByName(&statistics).at("gpubroker_guest_video_memory_limit_bytes").samples.empty());
  EXPECT_TRUE(ByName(&statistics).at("gpubroker_guest_clients_limit").samples.empty());
  for (WorkerStatistics& worker : *statistics.mutable_workers())
    for (GuestStatistics& guest : *worker.mutable_guests())
      guest.mutable_limits()->set_values(static_cast<int>(Resource::kClients), 7);
  statistics.mutable_workers(1)->mutable_guests(0)->mutable_limits()->set_values(
      static_cast<int>(Resource::kVideoMemory), 5 * kMib);
  UidStatistics* uid = statistics.add_uids();
  uid->set_uid(1000);
  statistics.mutable_uid_limits()->set_values(static_cast<int>(Resource::kClients), 70);
  const auto families = ByName(&statistics);
  EXPECT_EQ(Sum(families.at("gpubroker_guest_clients_limit")), 3 * 7);
  const Family& memory = families.at("gpubroker_guest_video_memory_limit_bytes");
  ASSERT_EQ(memory.samples.size(), 1);
  EXPECT_EQ(Sum(memory, {{"guest", "training"}}), 5 * kMib);
  EXPECT_EQ(Sum(families.at("gpubroker_uid_clients_limit"), {{"uid", "1000"}}), 70);
}

TEST(Metrics, GuestsAreNamedAndTheirUidsWhereTheNameTells) {
  const BrokerStatistics statistics = Example();
  const auto families = ByName(&statistics);
  std::set<std::map<std::string, std::string>> labels;
  for (const Sample& sample : families.at("gpubroker_guest_files").samples) labels.insert(Of(sample.labels));
  EXPECT_EQ(labels, (std::set<std::map<std::string, std::string>>{
                        {{"guest", "uid 1000 /a.slice"}, {"uid", "1000"}},
                        {{"guest", "training"}},
                        {{"guest", "uid 1001 /b.slice"}, {"uid", "1001"}}}));
}

// A guest that could look like another one would hide what it has.
TEST(Metrics, NamesOfAnyBytesStayApart) {
  const std::string names[] = {"a\xff",
                               "a\\xff",
                               "a\xfe",
                               "a\n",
                               "a\\n",
                               "a\"",
                               "a",
                               "\xc3\xa9",
                               "\\303\\251",
                               "\\xc3\\xa9",
                               "a\xff"
                               "f",
                               "a\\\\xff",
                               "a\x0f"
                               "f",
                               "a\xff\x0f"};
  BrokerStatistics statistics;
  for (const std::string& name : names) AddGuest(name, 1, statistics.add_workers());
  const auto families = ByName(&statistics);
  std::set<std::string> seen;
  for (const Sample& sample : families.at("gpubroker_guest_files").samples)
    EXPECT_TRUE(seen.insert(sample.labels[0].second).second) << sample.labels[0].second;
  for (const char byte : ExpositionText(Collect(&statistics, "host")))
    ASSERT_TRUE(byte == '\n' || (byte >= ' ' && byte <= '~')) << static_cast<int>(byte);
}

TEST(Metrics, LongNamesAreShortenedAndStayApart) {
  BrokerStatistics statistics;
  for (const char* first : {"a", "b"}) {
    AddGuest(first + std::string(4000, '\xff'), 1, statistics.add_workers());
    statistics.mutable_workers()->rbegin()->mutable_guests(0)->set_worker_pid(100 +
                                                                              statistics.workers_size());
  }
  const auto families = ByName(&statistics);
  const std::vector<Sample>& samples = families.at("gpubroker_guest_files").samples;
  ASSERT_EQ(samples.size(), 2);
  EXPECT_NE(samples[0].labels[0].second, samples[1].labels[0].second);
  EXPECT_LT(samples[0].labels[0].second.size(), 300);
}

// A rate sees the first refusal only where a zero came before it.
TEST(Metrics, ReasonsAndKindsBeginAtZero) {
  BrokerStatistics statistics;
  statistics.add_workers()->add_guests()->set_name("new");
  const auto families = ByName(&statistics);
  const Family& refusals = families.at("gpubroker_guest_refusals_total");
  EXPECT_EQ(refusals.samples.size(), static_cast<size_t>(Reason::kCount));
  EXPECT_EQ(Sum(refusals), 0);
  EXPECT_EQ(families.at("gpubroker_guest_limit_refusals_total").samples.size(), kResourceCount - 1);
}

TEST(Metrics, OfABrokerThatIsNotThereOnlyThatIsSaid) {
  EXPECT_EQ(ExpositionText(Collect(nullptr, "host")),
            "# HELP gpubroker_up 1 when the broker has answered, else 0\n# TYPE gpubroker_up gauge\n"
            "gpubroker_up 0\n");
}

TEST(Metrics, GpuHasNamesAndLabelsOfDcgmExporterAsWell) {
  BrokerStatistics statistics = Example();
  statistics.set_memory_bytes(300 * kMib + 1);
  const std::string text = ExpositionText(Collect(&statistics, "host"));
  const std::string own = R"({gpu="0",uuid="GPU-1",model="NVIDIA H100 80GB HBM3"} )";
  const std::string dcgm = R"({gpu="0",UUID="GPU-1",pci_bus_id="00000000:0A:00.0",device="nvidia0",)"
                           R"(modelName="NVIDIA H100 80GB HBM3",Hostname="host"} )";
  for (const std::string& line :
       {"gpubroker_gpu_memory_size_bytes" + own + "1048576000\n",
        "gpubroker_gpu_memory_used_bytes" + own + "314572801\n", "DCGM_FI_DEV_FB_USED" + dcgm + "300\n",
        "DCGM_FI_DEV_FB_FREE" + dcgm + "599\n"})
    EXPECT_NE(text.find("\n" + line), std::string::npos) << line << text;
}

TEST(Metrics, WhatIsNotKnownOfGpusIsNotSaid) {
  BrokerStatistics statistics = Example();
  statistics.mutable_gpus(0)->set_memory_bytes(0);
  auto families = ByName(&statistics);
  for (const char* name : {"gpubroker_gpu_memory_size_bytes", "DCGM_FI_DEV_FB_FREE"})
    EXPECT_TRUE(families.at(name).samples.empty()) << name;
  EXPECT_EQ(families.at("DCGM_FI_DEV_FB_USED").samples.size(), 1);

  statistics.add_gpus()->set_minor(1);
  families = ByName(&statistics);
  for (const char* name : {"gpubroker_gpu_memory_used_bytes", "DCGM_FI_DEV_FB_USED", "DCGM_FI_DEV_FB_FREE"})
    EXPECT_TRUE(families.at(name).samples.empty()) << name;
}

TEST(Metrics, TextIsThatOfPrometheus) {
  const std::vector<Family> families = {{"a_total",
                                         MetricType::kCounter,
                                         "",
                                         "back\\slash",
                                         {"x", "y"},
                                         {{{{"x", "q\"\\\n"}, {"y", ""}}, 1}, {{}, 2}}},
                                        {"b", MetricType::kGauge, "", "nothing to say", {}, {}}};
  EXPECT_EQ(ExpositionText(families),
            "# HELP a_total back\\\\slash\n# TYPE a_total counter\na_total{x=\"q\\\"\\\\\\n\",y=\"\"} 1\n"
            "a_total 2\n");
}

}  // namespace
}  // namespace nvshim::broker
