#include "broker/io/uid_sheet.h"

#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <cerrno>

#include "absl/status/status.h"
#include "broker/io/sealed_memfd.h"

namespace nvshim::broker {

struct UidSheet::Layout {
  // Two cache lines: no guest writes into what another reads more often than it must.
  struct alignas(128) Row {
    std::atomic<uint64_t> held[16];  // by Resource
  };
  alignas(128) std::atomic<uint64_t> rows;     // in use
  alignas(128) std::atomic<uint64_t> full_ns;  // when the bucket of frames is full again
  Row row[kRows];
};

namespace {

static_assert(kResourceCount <= 16, "a row has room for 16 kinds");
static_assert(std::atomic<uint64_t>::is_always_lock_free, "processes share them, and may die at any time");

}  // namespace

absl::StatusOr<std::shared_ptr<UidSheet>> UidSheet::Create() {
  auto memfd = CreateSealedMemfd("nvshim-uid", sizeof(Layout));
  if (!memfd.ok()) return memfd.status();
  return MapLayout(*std::move(memfd));
}

absl::StatusOr<std::shared_ptr<UidSheet>> UidSheet::Map(Fd memfd) {
  struct stat status;
  if (fstat(memfd.get(), &status) != 0) return absl::ErrnoToStatus(errno, "fstat of a sheet");
  if (static_cast<uint64_t>(status.st_size) != sizeof(Layout))
    return absl::InvalidArgumentError("a sheet of another size");
  return MapLayout(std::move(memfd));
}

absl::StatusOr<std::shared_ptr<UidSheet>> UidSheet::MapLayout(Fd memfd) {
  const auto base = MapSealedMemfd(memfd, sizeof(Layout));
  if (!base.ok()) return base.status();
  // SAFETY: a new memfd is all zeros, which is what the atomics of a Layout start as; its size is sealed, so
  // that no access faults.
  return std::shared_ptr<UidSheet>(new UidSheet(static_cast<Layout*>(*base), std::move(memfd)));
}

UidSheet::~UidSheet() { munmap(layout_, sizeof(Layout)); }

void UidSheet::UseRows(uint32_t count) {
  // Before the worker hears of its row, and so before anything stands in it.
  if (layout_->rows.load(std::memory_order_relaxed) < count)
    layout_->rows.store(count, std::memory_order_seq_cst);
}

void UidSheet::Write(uint32_t row, Resource resource, uint64_t held) {
  layout_->row[row].held[static_cast<size_t>(resource)].store(held, std::memory_order_relaxed);
}

bool UidSheet::WriteWithin(uint32_t row, Resource resource, uint64_t before, uint64_t held, uint64_t limit) {
  std::atomic<uint64_t>& own = layout_->row[row].held[static_cast<size_t>(resource)];
  own.store(held, std::memory_order_relaxed);
  // Pairs with the same line of every other worker: of two, one sees the other's row.
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (Sum(resource) <= limit) return true;
  own.store(before, std::memory_order_relaxed);
  return false;
}

void UidSheet::Clear(uint32_t row) {
  for (std::atomic<uint64_t>& held : layout_->row[row].held) held.store(0, std::memory_order_relaxed);
}

uint64_t UidSheet::Sum(Resource resource) const {
  const auto rows =
      static_cast<uint32_t>(std::min<uint64_t>(layout_->rows.load(std::memory_order_relaxed), kRows));
  uint64_t sum = 0;
  for (uint32_t i = 0; i < rows; ++i) {
    const uint64_t held = layout_->row[i].held[static_cast<size_t>(resource)].load(std::memory_order_relaxed);
    if (held > kNoLimit - sum) return kNoLimit;
    sum += held;
  }
  return sum;
}

void UidSheet::RefillBucket() { layout_->full_ns.store(0, std::memory_order_relaxed); }

uint64_t UidSheet::NextFrameNs(uint64_t per_second, uint64_t now_ns) {
  uint64_t full_ns = layout_->full_ns.load(std::memory_order_relaxed);
  for (;;) {
    const Frame frame = NextFrame(full_ns, per_second, now_ns);
    if (layout_->full_ns.compare_exchange_weak(full_ns, frame.full_ns, std::memory_order_relaxed))
      return frame.due_ns;
  }
}

bool UidRow::Raise(Resource resource, uint64_t before, uint64_t held) {
  const uint64_t limit = limits_[resource];
  if (limit != kNoLimit) return sheet_->WriteWithin(row_, resource, before, held, limit);
  sheet_->Write(row_, resource, held);
  return true;
}

void UidRow::Set(Resource resource, uint64_t held) { sheet_->Write(row_, resource, held); }

}  // namespace nvshim::broker
