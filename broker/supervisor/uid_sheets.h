// The sheets of the uids that have guests, and whose each row is. A row is leased to one guest; when the
// lease ends the row is cleared. So a lease must live until the worker that writes into the row does not any
// more: the guest was empty when it was forgotten, or the worker is dead and reaped. One thread.
#ifndef BROKER_SUPERVISOR_UID_SHEETS_H_
#define BROKER_SUPERVISOR_UID_SHEETS_H_

#include <sys/types.h>

#include <map>
#include <memory>
#include <set>
#include <utility>

#include "absl/status/statusor.h"
#include "broker/core/resource.h"
#include "broker/io/uid_sheet.h"

namespace nvshim::broker {

class UidSheets {
  struct Book {
    std::shared_ptr<UidSheet> sheet;
    std::set<uint32_t> leased;
  };
  using Books = std::map<uid_t, Book>;

 public:
  // Users with guests at a time. Each costs the supervisor a descriptor.
  static constexpr size_t kUidsMax = 4096;

  // One row of a uid's sheet. May outlive the UidSheets.
  class Lease {
   public:
    Lease() = default;
    Lease(Lease&& other) noexcept
        : books_(std::move(other.books_)), uid_(other.uid_), row_(other.row_), memfd_(other.memfd_) {}
    Lease& operator=(Lease&& other) noexcept;
    ~Lease();

    uint32_t row() const { return row_; }
    int memfd() const { return memfd_; }  // of the sheet

   private:
    friend class UidSheets;
    Lease(std::shared_ptr<Books> books, uid_t uid, uint32_t row, int memfd)
        : books_(std::move(books)), uid_(uid), row_(row), memfd_(memfd) {}

    std::shared_ptr<Books> books_;
    uid_t uid_ = 0;
    uint32_t row_ = 0;
    int memfd_ = -1;
  };

  // A row for one more guest of `uid`. Fails at kUidsMax and UidSheet::kRows, and when the machine is short.
  absl::StatusOr<Lease> Take(uid_t uid);

  // What the guests of each uid hold together.
  std::map<uid_t, Amounts> Sums() const;

 private:
  std::shared_ptr<Books> books_ = std::make_shared<Books>();
};

}  // namespace nvshim::broker

#endif  // BROKER_SUPERVISOR_UID_SHEETS_H_
