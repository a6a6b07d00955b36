#include "broker/ctl/guests_view.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "broker/io/limits_message.h"
#include "broker/supervisor/statistics_json.h"

namespace nvshim::broker::ctl {
namespace {

using Json = nlohmann::ordered_json;
using Row = std::array<std::string, 8>;

// What is said of a guest in two places. At least one is there.
struct View {
  const GuestStatistics* guest = nullptr;  // null: it is not there
  const KnownGuest* known = nullptr;       // null: it has neither a socket nor limits of its own

  const std::string& name() const { return guest != nullptr ? guest->name() : known->name(); }
};

std::vector<View> ViewsOf(const BrokerStatistics& statistics) {
  std::map<std::string, const KnownGuest*> known, absent;
  for (const KnownGuest& one : statistics.known()) known[one.name()] = &one;
  absent = known;
  std::vector<View> views;
  for (const WorkerStatistics& worker : statistics.workers())
    for (const GuestStatistics& guest : worker.guests()) {
      const auto it = known.find(guest.name());
      views.push_back({&guest, it == known.end() ? nullptr : it->second});
      absent.erase(guest.name());
    }
  std::sort(views.begin(), views.end(),
            [](const View& a, const View& b) { return a.guest->guest_id() < b.guest->guest_id(); });
  for (const auto& [name, one] : absent) views.push_back({nullptr, one});
  return views;
}

uint64_t UsedOf(const GuestStatistics& guest, Resource resource) {
  const auto kind = static_cast<int>(resource);
  return kind < guest.used_size() ? guest.used(kind) : 0;
}

std::string MemoryText(const GuestStatistics& guest, Resource resource) {
  const uint64_t limit = LimitsOf(guest)[resource];
  const std::string used = BytesText(UsedOf(guest, resource));
  return limit == kNoLimit ? used : absl::StrCat(used, " of ", BytesText(limit));
}

std::string WhoText(const View& view) {
  std::string text = absl::Utf8SafeCHexEscape(view.name());
  if (view.known == nullptr) return text;
  if (!view.known->socket().empty())
    absl::StrAppend(&text, " at ", absl::Utf8SafeCHexEscape(view.known->socket()));
  if (view.known->added()) absl::StrAppend(&text, ", added");
  if (view.known->own_limits_size() != 0) absl::StrAppend(&text, ", limits of its own");
  return text;
}

Row RowOf(const View& view) {
  if (view.guest == nullptr) return {"-", "-", "-", "-", "-", "-", "-", WhoText(view)};
  const GuestStatistics& guest = *view.guest;
  return {absl::StrCat(guest.guest_id()),
          absl::StrCat(guest.processes()),
          absl::StrCat(guest.files()),
          MemoryText(guest, Resource::kVideoMemory),
          MemoryText(guest, Resource::kPinnedMemory),
          absl::StrCat(UsedOf(guest, Resource::kChannels)),
          absl::StrCat(guest.worker_pid()),
          WhoText(view)};
}

Json LimitJson(uint64_t limit) { return limit == kNoLimit ? Json() : Json(limit); }

Json ViewJson(const View& view) {
  Json json = {
      {"name", view.name()}, {"guest", nullptr},  {"worker_pid", nullptr}, {"processes", 0},
      {"files", 0},          {"socket", nullptr}, {"added", false},        {"own_limits", Json::object()},
      {"limits", nullptr}};
  if (view.guest != nullptr) {
    json["guest"] = view.guest->guest_id();
    json["worker_pid"] = view.guest->worker_pid();
    json["processes"] = view.guest->processes();
    json["files"] = view.guest->files();
    json["limits"] = LimitsJson(view.guest->used(), LimitsOf(*view.guest));
  }
  if (view.known != nullptr) {
    if (!view.known->socket().empty()) json["socket"] = view.known->socket();
    json["added"] = view.known->added();
    for (const OwnLimit& own : view.known->own_limits())
      json["own_limits"][own.kind()] = LimitJson(own.limit());
  }
  return json;
}

}  // namespace

std::string BytesText(uint64_t bytes) {
  constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  size_t unit = 0;
  double amount = static_cast<double>(bytes);
  for (; amount >= 1024 && unit + 1 < std::size(kUnits); ++unit) amount /= 1024;
  // One digit behind the point while there is one before it, and never ".0".
  const bool is_whole = amount >= 10 || amount == static_cast<double>(static_cast<uint64_t>(amount));
  return is_whole ? absl::StrFormat("%.0f %s", amount, kUnits[unit])
                  : absl::StrFormat("%.1f %s", amount, kUnits[unit]);
}

std::string GuestsText(const BrokerStatistics& statistics) {
  std::vector<Row> rows = {
      {"NUMBER", "PROCESSES", "FILES", "VIDEO MEMORY", "PINNED MEMORY", "CHANNELS", "WORKER", "GUEST"}};
  for (const View& view : ViewsOf(statistics)) rows.push_back(RowOf(view));
  std::array<size_t, std::tuple_size_v<Row>> widths{};
  for (const Row& row : rows)
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  std::string text;
  for (const Row& row : rows) {
    for (size_t i = 0; i + 1 < row.size(); ++i)
      absl::StrAppendFormat(&text, "%-*s  ", static_cast<int>(widths[i]), row[i]);
    absl::StrAppend(&text, row.back(), "\n");
  }
  return text;
}

std::string GuestsJson(const BrokerStatistics& statistics) {
  Json guests = Json::array();
  for (const View& view : ViewsOf(statistics)) guests.push_back(ViewJson(view));
  // Names hold cgroup paths, which need not be UTF-8.
  return guests.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace nvshim::broker::ctl
