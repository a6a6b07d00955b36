// [unsafe] What all guests of one uid hold together, wherever their workers are: a sealed memfd that the
// supervisor makes and the workers of that uid's guests map. No guest ever sees it.
//
//   | header: rows in use, the bucket of frames | row 0 | row 1 | ... | row kRows-1 |
//
// A row belongs to one guest, says what the guest holds of each kind, and is written by that guest's worker
// alone. There is no sum that is kept: who wants more writes what it would have into its row, and then adds
// up all rows; when that is beyond the limit it takes its own back. Of two workers that reach for the last of
// something at the same moment the later one sees what the first has written, so the bound holds; both may
// see each other and both be turned away. A worker that dies leaves its rows as they are, and the supervisor
// clears them once the kernel has released what the process had: nothing has to be worked out, so nothing can
// drift.
//
// A worker that is no longer its own master can write what it likes here. It harms the guests of the same
// user.
#ifndef BROKER_IO_UID_SHEET_H_
#define BROKER_IO_UID_SHEET_H_

#include <cstdint>
#include <memory>
#include <utility>

#include "absl/status/statusor.h"
#include "broker/core/ledger.h"
#include "broker/io/fd.h"

namespace nvshim::broker {

class UidSheet {
 public:
  // Guests of one uid: as many as the supervisor takes altogether.
  static constexpr uint32_t kRows = 4096;

  static absl::StatusOr<std::shared_ptr<UidSheet>> Create();
  // A sheet that somebody else has made.
  static absl::StatusOr<std::shared_ptr<UidSheet>> Map(Fd memfd);
  UidSheet(const UidSheet&) = delete;
  UidSheet& operator=(const UidSheet&) = delete;
  ~UidSheet();

  int memfd() const { return memfd_.get(); }

  // Rows 0 to `count` - 1 are added up from now on. Never less than before.
  void UseRows(uint32_t count);

  void Write(uint32_t row, Resource resource, uint64_t held);
  // As Write, when the rows then come to no more than `limit`; else false, and the row says `before` again.
  bool WriteWithin(uint32_t row, Resource resource, uint64_t before, uint64_t held, uint64_t limit);
  void Clear(uint32_t row);

  // Of all rows.
  uint64_t Sum(Resource resource) const;

  // The next frames of the uid may come at once.
  void RefillBucket();

  // When the uid's next frame may be served, at so many frames per second.
  uint64_t NextFrameNs(uint64_t per_second, uint64_t now_ns);

 private:
  struct Layout;
  UidSheet(Layout* layout, Fd memfd) : layout_(layout), memfd_(std::move(memfd)) {}
  static absl::StatusOr<std::shared_ptr<UidSheet>> MapLayout(Fd memfd);

  Layout* const layout_;
  const Fd memfd_;
};

// One guest's row.
class UidRow final : public UidLevel {
 public:
  // `row` < UidSheet::kRows.
  UidRow(std::shared_ptr<UidSheet> sheet, uint32_t row, const Limits& limits)
      : sheet_(std::move(sheet)), row_(row), limits_(limits) {}

  bool Raise(Resource resource, uint64_t before, uint64_t held) override;
  void Set(Resource resource, uint64_t held) override;
  uint64_t limit(Resource resource) const override { return limits_[resource]; }
  uint64_t used(Resource resource) const override { return sheet_->Sum(resource); }
  uint64_t NextFrameNs(uint64_t now_ns) override {
    return sheet_->NextFrameNs(limits_[Resource::kFramesPerSecond], now_ns);
  }
  void RefillFrames() override { sheet_->RefillBucket(); }

 private:
  const std::shared_ptr<UidSheet> sheet_;
  const uint32_t row_;
  const Limits limits_;
};

}  // namespace nvshim::broker

#endif  // BROKER_IO_UID_SHEET_H_
