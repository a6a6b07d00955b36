#include "broker/ctl/top_view.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <tuple>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace nvshim::broker::ctl {
namespace {

constexpr size_t kNameColumns = 32;  // of a guest
constexpr size_t kModelColumns = 40;
constexpr char kRule[] =
    "+-----------------------------------------------------------------------------------------+";
constexpr char kHeadRule[] =
    "|=========================================================================================|";

struct Counts {
  uint64_t calls = 0;
  uint64_t refusals = 0;
};

Counts CountsOf(const GuestStatistics& guest) {
  Counts counts{guest.opens_total() + guest.ioctls_total(), 0};
  for (const auto& [reason, count] : guest.refusals_total()) counts.refusals += count;
  return counts;
}

// Guests have numbers of their worker's, and the next one of that name begins at zero.
using Key = std::tuple<uint32_t, uint32_t, std::string>;
Key KeyOf(const GuestStatistics& guest) { return {guest.worker_pid(), guest.guest_id(), guest.name()}; }

std::map<Key, Counts> AllCounts(const BrokerStatistics* statistics) {
  std::map<Key, Counts> counts;
  if (statistics == nullptr) return counts;
  for (const WorkerStatistics& worker : statistics->workers())
    for (const GuestStatistics& guest : worker.guests()) counts[KeyOf(guest)] = CountsOf(guest);
  return counts;
}

// The end of a long name tells more than its beginning: of a control group it is the program's.
std::string Shown(const std::string& name, size_t columns) {
  std::string shown = absl::CHexEscape(name);
  if (shown.size() > columns) shown = "..." + shown.substr(shown.size() - columns + 3);
  return shown;
}

std::string Mib(uint64_t bytes) { return absl::StrCat(bytes >> 20, "MiB"); }

std::string MibOrNone(uint64_t bytes) { return bytes == 0 ? "-" : Mib(bytes); }

std::string Rate(uint64_t now, std::optional<uint64_t> before, double seconds) {
  if (!before || seconds <= 0 || now < *before) return "-";
  return absl::StrFormat("%.0f", static_cast<double>(now - *before) / seconds);
}

std::string GuestRow(const GuestStatistics& guest, const std::map<Key, Counts>& before, double seconds) {
  const Counts now = CountsOf(guest);
  const auto it = before.find(KeyOf(guest));
  std::optional<uint64_t> calls_before;
  if (it != before.end()) calls_before = it->second.calls;
  return absl::StrFormat("| %-32s %6d %11s / %11s %9s %11d |", Shown(guest.name(), kNameColumns),
                         guest.processes(), Mib(guest.memory_bytes()), MibOrNone(guest.memory_quota_bytes()),
                         Rate(now.calls, calls_before, seconds), now.refusals);
}

std::string GpuRow(const GpuStatistics& gpu, const BrokerStatistics& now) {
  // Of several GPUs nobody counts which one a guest's memory is on.
  const std::string used = now.gpus_size() == 1 ? Mib(now.memory_bytes()) : "-";
  return absl::StrFormat("| %3d  %-40s %-13s %13s / %11s |", gpu.minor(), Shown(gpu.name(), kModelColumns),
                         Shown(gpu.bus_id(), 13), used, MibOrNone(gpu.memory_bytes()));
}

std::string HeadRow(const BrokerStatistics& now) {
  return absl::StrFormat("| %-87s |",
                         absl::StrFormat("gpu-broker %-14s Driver: %-8s %-16s Guests: %-8d Workers: %d",
                                         Shown(now.version(), 14), Shown(now.driver(), 8),
                                         Shown(now.driver_version(), 16), now.guests(), now.workers_size()));
}

std::vector<const GuestStatistics*> Guests(const BrokerStatistics& now) {
  std::vector<const GuestStatistics*> guests;
  for (const WorkerStatistics& worker : now.workers())
    for (const GuestStatistics& guest : worker.guests()) guests.push_back(&guest);
  std::sort(guests.begin(), guests.end(), [](const GuestStatistics* a, const GuestStatistics* b) {
    return std::make_pair(b->memory_bytes(), KeyOf(*a)) < std::make_pair(a->memory_bytes(), KeyOf(*b));
  });
  return guests;
}

}  // namespace

std::vector<std::string> TopView(const BrokerStatistics& now, const BrokerStatistics* before, double seconds,
                                 size_t lines_max) {
  std::vector<std::string> lines = {kRule, HeadRow(now), kRule};
  lines.push_back(
      absl::StrFormat("| %3s  %-40s %-13s %27s |", "GPU", "Name", "Bus-Id", "Memory of guests / Size"));
  lines.push_back(kHeadRule);
  for (const GpuStatistics& gpu : now.gpus()) lines.push_back(GpuRow(gpu, now));
  lines.push_back(kRule);
  lines.push_back(absl::StrFormat("| %-32s %6s %25s %9s %11s |", "Guest", "Procs", "Video memory / Limit",
                                  "Calls/s", "Refused"));
  lines.push_back(kHeadRule);
  const std::vector<const GuestStatistics*> guests = Guests(now);
  const size_t room = lines_max > lines.size() + 1 ? lines_max - lines.size() - 1 : 0;  // above the last rule
  const size_t shown = guests.size() <= room ? guests.size() : room - std::min<size_t>(room, 1);
  const std::map<Key, Counts> counts_before = AllCounts(before);
  for (size_t i = 0; i < shown; ++i) lines.push_back(GuestRow(*guests[i], counts_before, seconds));
  if (shown < guests.size())
    lines.push_back(absl::StrFormat("| %-87s |", absl::StrCat("... and ", guests.size() - shown, " more")));
  lines.push_back(kRule);
  return lines;
}

}  // namespace nvshim::broker::ctl
