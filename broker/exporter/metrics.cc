#include "broker/exporter/metrics.h"

#include <algorithm>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "broker/core/resource.h"
#include "broker/io/limits_message.h"
#include "broker/supervisor/guest_identity.h"

namespace nvshim::broker {
namespace {

using Kinds = google::protobuf::RepeatedField<uint64_t>;

// Debian's Abseil has a string_view of its own.
absl::string_view Text(std::string_view text) { return {text.data(), text.size()}; }

// Those who have an account of the ledger: a guest, or a uid.
struct Account {
  Labels labels;
  const Kinds* used;
  Limits limits;
  const GuestStatistics* guest;  // null: a uid
};

struct Level {
  std::string_view name;
  std::string_view whose;
  std::vector<std::string_view> labels;
  std::vector<Account> accounts;
};

// Of a name in a label. Control groups of containers have some 200; a user who makes groups with names of
// thousands of bytes must not make the page too large for those who read it.
constexpr size_t kNameBytesMax = 256;

// Names may hold any bytes, and each must stay a name of its own: as in a C string. What is left of a long
// one would not be, and has the guest's number in its worker behind it.
std::string LabelOf(const GuestStatistics& guest) {
  std::string name = absl::CHexEscape(guest.name());
  if (name.size() <= kNameBytesMax) return name;
  return absl::StrCat("...", name.substr(name.size() - kNameBytesMax), " #", guest.worker_pid(), ".",
                      guest.guest_id());
}

Labels GuestLabels(const GuestStatistics& guest) {
  Labels labels = {{"guest", LabelOf(guest)}};
  if (const auto uid = UidIn(guest.name())) labels.emplace_back("uid", absl::StrCat(*uid));
  return labels;
}

Level GuestLevel(const BrokerStatistics& statistics) {
  Level level{"guest", "the guest", {"guest", "uid"}, {}};
  for (const WorkerStatistics& worker : statistics.workers())
    for (const GuestStatistics& guest : worker.guests())
      level.accounts.push_back({GuestLabels(guest), &guest.used(), LimitsOf(guest), &guest});
  return level;
}

Level UidLevel(const BrokerStatistics& statistics) {
  Level level{"uid", "all guests of the user together", {"uid"}, {}};
  const Limits limits = LimitsIn(statistics.uid_limits(), NoLimits());
  for (const UidStatistics& uid : statistics.uids())
    level.accounts.push_back({{{"uid", absl::StrCat(uid.uid())}}, &uid.used(), limits, nullptr});
  return level;
}

uint64_t Of(const Kinds& kinds, size_t kind) {
  return kind < static_cast<size_t>(kinds.size()) ? kinds[static_cast<int>(kind)] : 0;
}

// ---- The kinds of the ledger ----

std::string_view UnitOf(const ResourceInfo& info) {
  return info.unit == Unit::kBytes ? "bytes" : info.unit == Unit::kPerSecond ? "per second" : "";
}

// gpubroker_guest_video_memory + _limit + _bytes: the unit ends the name.
std::string NameOf(const Level& level, const ResourceInfo& info, std::string_view suffix) {
  absl::string_view name = Text(info.name);
  const bool bytes = info.unit == Unit::kBytes;
  if (bytes) absl::ConsumeSuffix(&name, "_bytes");
  return absl::StrCat("gpubroker_", Text(level.name), "_", name, Text(suffix), bytes ? "_bytes" : "");
}

Family Used(const Level& level, size_t kind) {
  const ResourceInfo& info = kResources[kind];
  Family family{NameOf(level, info, ""),
                MetricType::kGauge,
                std::string(UnitOf(info)),
                absl::StrCat("Of ", Text(level.whose), ": ", Text(info.what)),
                level.labels,
                {}};
  for (const Account& account : level.accounts)
    family.samples.push_back({account.labels, Of(*account.used, kind)});
  return family;
}

Family Limit(const Level& level, size_t kind) {
  const ResourceInfo& info = kResources[kind];
  Family family{NameOf(level, info, "_limit"),
                MetricType::kGauge,
                std::string(UnitOf(info)),
                absl::StrCat("Limit of ", Text(info.name), " for ", Text(level.whose), "; no sample: none"),
                level.labels,
                {}};
  for (const Account& account : level.accounts)
    if (const uint64_t limit = account.limits[static_cast<Resource>(kind)]; limit != kNoLimit)
      family.samples.push_back({account.labels, limit});
  return family;
}

void AddKinds(const Level& level, std::vector<Family>* families) {
  for (size_t kind = 0; kind < kResourceCount; ++kind) {
    // Nobody holds frames per second.
    if (kResources[kind].unit != Unit::kPerSecond) families->push_back(Used(level, kind));
    families->push_back(Limit(level, kind));
  }
}

// ---- Counters of a guest ----

struct GuestCounter {
  std::string_view name;
  std::string_view unit;
  std::string_view help;
  uint64_t (*value)(const GuestStatistics&);
};

constexpr GuestCounter kGuestCounters[] = {
    {"opens_total", "opens", "Opens of device files, refused ones included",
     [](const GuestStatistics& guest) { return guest.opens_total(); }},
    {"ioctls_total", "calls", "Calls on device files, refused ones included",
     [](const GuestStatistics& guest) { return guest.ioctls_total(); }},
    {"driver_calls_total", "calls", "Opens and calls that have reached the driver",
     [](const GuestStatistics& guest) { return guest.driver_calls_total(); }},
    {"would_be_denied_total", "calls", "Calls that have passed because the policy is only tried out",
     [](const GuestStatistics& guest) { return guest.would_be_denied_total(); }},
    {"delayed_frames_total", "frames", "Opens and calls that had to wait for the limit frames_per_second",
     [](const GuestStatistics& guest) {
       return Of(guest.refused_total(), static_cast<size_t>(Resource::kFramesPerSecond));
     }},
};

Family CounterOf(const Level& guests, const GuestCounter& counter) {
  Family family{absl::StrCat("gpubroker_guest_", Text(counter.name)),
                MetricType::kCounter,
                std::string(counter.unit),
                std::string(counter.help),
                guests.labels,
                {}};
  for (const Account& account : guests.accounts)
    family.samples.push_back({account.labels, counter.value(*account.guest)});
  return family;
}

Labels With(Labels labels, std::string_view name, std::string_view value) {
  labels.emplace_back(name, value);
  return labels;
}

// Each reason is there from the start: a rate sees the first refusal only where a zero came before it.
Family Refusals(const Level& guests) {
  Family family{"gpubroker_guest_refusals_total",
                MetricType::kCounter,
                "calls",
                "Opens and calls turned down, by reason (docs/metrics.md)",
                {"guest", "uid", "reason"},
                {}};
  for (const Account& account : guests.accounts)
    for (const char* reason : kReasonNames) {
      const auto& counts = account.guest->refusals_total();
      const auto it = counts.find(reason);
      family.samples.push_back({With(account.labels, "reason", reason), it == counts.end() ? 0 : it->second});
    }
  return family;
}

Family LimitRefusals(const Level& guests) {
  Family family{"gpubroker_guest_limit_refusals_total",
                MetricType::kCounter,
                "refusals",
                "How often the guest was turned away at a limit of its own or of its user, by kind",
                {"guest", "uid", "kind"},
                {}};
  for (const Account& account : guests.accounts)
    for (size_t kind = 0; kind < kResourceCount; ++kind)
      if (kResources[kind].unit != Unit::kPerSecond)
        family.samples.push_back(
            {With(account.labels, "kind", kResources[kind].name), Of(account.guest->refused_total(), kind)});
  return family;
}

// ---- GPUs ----

Labels GpuLabels(const GpuStatistics& gpu, std::string_view /*hostname*/) {
  return {{"gpu", absl::StrCat(gpu.minor())},
          {"uuid", absl::CHexEscape(gpu.uuid())},
          {"model", absl::CHexEscape(gpu.name())}};
}

// As NVML writes it: "00000000:01:00.0".
std::string PciBusId(const std::string& bus_id) {
  const size_t domain_digits = bus_id.find(':');
  const bool is_short = domain_digits != std::string::npos && domain_digits < 8;
  return absl::AsciiStrToUpper(absl::StrCat(is_short ? std::string(8 - domain_digits, '0') : "", bus_id));
}

// As dcgm-exporter has them: dashboards that know its names show a GPU of the broker's.
Labels DcgmLabels(const GpuStatistics& gpu, std::string_view hostname) {
  return {{"gpu", absl::StrCat(gpu.minor())},
          {"UUID", absl::CHexEscape(gpu.uuid())},
          {"pci_bus_id", absl::CHexEscape(PciBusId(gpu.bus_id()))},
          {"device", absl::StrCat("nvidia", gpu.minor())},
          {"modelName", absl::CHexEscape(gpu.name())},
          {"Hostname", absl::CHexEscape(Text(hostname))}};
}

struct GpuMemory {
  std::optional<uint64_t> size_bytes;
  uint64_t reserved_bytes;
  std::optional<uint64_t> used_bytes;
};

// Of several GPUs nobody counts which one a guest's memory is on.
GpuMemory MemoryOf(const GpuStatistics& gpu, const BrokerStatistics& statistics) {
  GpuMemory memory{{}, gpu.memory_reserved_bytes(), {}};
  if (gpu.memory_bytes() != 0) memory.size_bytes = gpu.memory_bytes();
  if (statistics.gpus_size() == 1) memory.used_bytes = statistics.memory_bytes();
  return memory;
}

std::optional<uint64_t> InMib(std::optional<uint64_t> bytes) {
  return bytes ? std::optional(*bytes >> 20) : std::nullopt;
}

// What guests can still get.
std::optional<uint64_t> FreeBytes(const GpuMemory& memory) {
  if (!memory.size_bytes || !memory.used_bytes) return std::nullopt;
  const uint64_t taken = memory.reserved_bytes + *memory.used_bytes;
  return *memory.size_bytes - std::min(taken, *memory.size_bytes);
}

struct GpuGauge {
  std::string_view name;
  std::string_view unit;
  std::string_view help;
  Labels (*labels)(const GpuStatistics&, std::string_view hostname);
  std::optional<uint64_t> (*value)(const GpuMemory&);  // nothing: not known
};

constexpr GpuGauge kGpuGauges[] = {
    {"gpubroker_gpu_memory_size_bytes", "bytes", "Memory of the GPU", GpuLabels,
     [](const GpuMemory& memory) { return memory.size_bytes; }},
    {"gpubroker_gpu_memory_used_bytes", "bytes", "Memory of the GPU that guests have", GpuLabels,
     [](const GpuMemory& memory) { return memory.used_bytes; }},
    {"DCGM_FI_DEV_FB_USED", "MiB", "Memory of the GPU that guests have (in MiB)", DcgmLabels,
     [](const GpuMemory& memory) { return InMib(memory.used_bytes); }},
    {"DCGM_FI_DEV_FB_FREE", "MiB", "Memory of the GPU that guests can still get (in MiB)", DcgmLabels,
     [](const GpuMemory& memory) { return InMib(FreeBytes(memory)); }},
};

Family GpuFamily(const GpuGauge& gauge, const BrokerStatistics& statistics, std::string_view hostname) {
  Family family{
      std::string(gauge.name), MetricType::kGauge, std::string(gauge.unit), std::string(gauge.help), {}, {}};
  for (const auto& [name, value] : gauge.labels({}, {})) family.labels.push_back(name);
  for (const GpuStatistics& gpu : statistics.gpus())
    if (const auto value = gauge.value(MemoryOf(gpu, statistics)))
      family.samples.push_back({gauge.labels(gpu, hostname), *value});
  return family;
}

// ---- The broker ----

Labels BuildLabels(const BrokerStatistics& statistics) {
  return {{"version", absl::CHexEscape(statistics.version())},
          {"driver", absl::CHexEscape(statistics.driver())},
          {"driver_version", absl::CHexEscape(statistics.driver_version())}};
}

void AddBroker(const BrokerStatistics* statistics, std::vector<Family>* families) {
  Family up{"gpubroker_up", MetricType::kGauge, "", "1 when the broker has answered, else 0", {}, {}};
  Family build{"gpubroker_build_info",
               MetricType::kGauge,
               "",
               "1; the labels say what runs. driver is sim or kernel",
               {"version", "driver", "driver_version"},
               {}};
  Family guests{"gpubroker_guests",
                MetricType::kGauge,
                "guests",
                "Guests, empty ones included until they are forgotten",
                {},
                {}};
  Family workers{"gpubroker_workers", MetricType::kGauge, "processes", "Worker processes", {}, {}};
  up.samples.push_back({{}, statistics != nullptr});
  if (statistics != nullptr) {
    build.samples.push_back({BuildLabels(*statistics), 1});
    guests.samples.push_back({{}, statistics->guests()});
    workers.samples.push_back({{}, static_cast<uint64_t>(statistics->workers_size())});
  }
  for (Family* family : {&up, &build, &guests, &workers}) families->push_back(std::move(*family));
}

}  // namespace

std::vector<Family> Collect(const BrokerStatistics* statistics, std::string_view hostname) {
  std::vector<Family> families;
  AddBroker(statistics, &families);
  const BrokerStatistics& known = statistics == nullptr ? BrokerStatistics::default_instance() : *statistics;
  for (const GpuGauge& gauge : kGpuGauges) families.push_back(GpuFamily(gauge, known, hostname));
  const Level guests = GuestLevel(known);
  AddKinds(guests, &families);
  for (const GuestCounter& counter : kGuestCounters) families.push_back(CounterOf(guests, counter));
  families.push_back(Refusals(guests));
  families.push_back(LimitRefusals(guests));
  AddKinds(UidLevel(known), &families);
  return families;
}

}  // namespace nvshim::broker
