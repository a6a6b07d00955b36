#include "broker/log/line_limit.h"

#include <algorithm>
#include <utility>

namespace nvshim::broker {

std::optional<uint64_t> LineLimit::Take(std::string_view guest, Clock::time_point now) {
  std::string name(guest);
  const bool is_new = !guests_.contains(name);
  if (is_new && guests_.size() >= kGuestsMax) ForgetQuietGuests(now);
  if (is_new && guests_.size() >= kGuestsMax) name.clear();  // those that find no room are one guest
  Guest& of = guests_[name];
  const auto start = std::max(of.paid_until, now);
  if (start - now > kOneMoreEvery * (kLinesAtOnce - 1)) {
    ++of.left_out;
    return std::nullopt;
  }
  of.paid_until = start + kOneMoreEvery;
  return std::exchange(of.left_out, 0);
}

void LineLimit::ForgetQuietGuests(Clock::time_point now) {
  absl::erase_if(guests_, [&](const auto& entry) {
    return entry.second.paid_until <= now && entry.second.left_out == 0;
  });
}

}  // namespace nvshim::broker
