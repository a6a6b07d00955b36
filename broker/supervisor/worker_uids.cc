#include "broker/supervisor/worker_uids.h"

#include <limits>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace nvshim::broker {

absl::StatusOr<UidRange> ParseUidRange(const std::string& text) {
  const size_t dash = text.find('-');
  UidRange range;
  if (dash == std::string::npos || !absl::SimpleAtoi(text.substr(0, dash), &range.first) ||
      !absl::SimpleAtoi(text.substr(dash + 1), &range.last))
    return absl::InvalidArgumentError(absl::StrCat("FIRST-LAST is wanted, two user ids, not '", text, "'"));
  // setresuid(2) takes this one for "leave it as it is".
  if (range.last == std::numeric_limits<uid_t>::max())
    return absl::InvalidArgumentError(absl::StrCat(range.last, " is no user id"));
  if (range.first > range.last)
    return absl::InvalidArgumentError(absl::StrCat(text, " is empty: FIRST is greater than LAST"));
  if (range.first == 0) return absl::InvalidArgumentError("uid 0 is root's and no worker's");
  return range;
}

WorkerUids::Lease& WorkerUids::Lease::operator=(Lease&& other) noexcept {
  std::swap(taken_, other.taken_);
  std::swap(uid_, other.uid_);
  return *this;
}

WorkerUids::Lease::~Lease() {
  if (taken_) taken_->erase(uid_);
}

WorkerUids::Lease WorkerUids::Take() {
  if (taken_->size() == size_t{range_.last} - range_.first + 1) return {};
  uid_t uid;
  do {
    uid = next_;
    next_ = uid == range_.last ? range_.first : uid + 1;
  } while (!taken_->insert(uid).second);
  return Lease(taken_, uid);
}

WorkerUids::Lease WorkerUids::TakeThis(uid_t uid) {
  if (uid < range_.first || uid > range_.last || !taken_->insert(uid).second) return {};
  return Lease(taken_, uid);
}

}  // namespace nvshim::broker
