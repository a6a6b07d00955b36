// The user ids of --worker-uid-range: one for each worker, so that the kernel and RM, which compare effective
// user ids, take two workers for strangers. Pure: no system calls. One thread.
#ifndef BROKER_SUPERVISOR_WORKER_UIDS_H_
#define BROKER_SUPERVISOR_WORKER_UIDS_H_

#include <sys/types.h>

#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "absl/status/statusor.h"

namespace nvshim::broker {

struct UidRange {
  uid_t first = 0;  // never root's
  uid_t last = 0;   // included
};

// Reads "FIRST-LAST". Refuses what is no pair of user ids, an empty range, and uid 0.
absl::StatusOr<UidRange> ParseUidRange(const std::string& text);

class WorkerUids {
 public:
  // One user id of the range, taken until the lease is gone. May outlive the WorkerUids.
  class Lease {
   public:
    Lease() = default;
    Lease(Lease&&) = default;
    Lease& operator=(Lease&& other) noexcept;
    ~Lease();

    std::optional<uid_t> uid() const { return taken_ ? std::optional(uid_) : std::nullopt; }

   private:
    friend class WorkerUids;
    Lease(std::shared_ptr<std::set<uid_t>> taken, uid_t uid) : taken_(std::move(taken)), uid_(uid) {}

    std::shared_ptr<std::set<uid_t>> taken_;
    uid_t uid_ = 0;
  };

  explicit WorkerUids(UidRange range) : range_(range), next_(range.first) {}

  // The next free user id, in turn: one that was freed is not used again until the others have been. A lease
  // without a uid when all are taken.
  Lease Take();

  // The user id of a worker that is there already. A lease without a uid when it is not of this range.
  Lease TakeThis(uid_t uid);

 private:
  UidRange range_;
  uid_t next_;
  std::shared_ptr<std::set<uid_t>> taken_ = std::make_shared<std::set<uid_t>>();
};

}  // namespace nvshim::broker

#endif  // BROKER_SUPERVISOR_WORKER_UIDS_H_
