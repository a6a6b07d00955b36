#include "broker/supervisor/uid_sheets.h"

#include "absl/status/status.h"

namespace nvshim::broker {

UidSheets::Lease& UidSheets::Lease::operator=(Lease&& other) noexcept {
  std::swap(books_, other.books_);
  std::swap(uid_, other.uid_);
  std::swap(row_, other.row_);
  std::swap(memfd_, other.memfd_);
  return *this;
}

UidSheets::Lease::~Lease() {
  if (books_ == nullptr) return;
  const auto book = books_->find(uid_);
  book->second.sheet->Clear(row_);
  book->second.leased.erase(row_);
  if (book->second.leased.empty()) books_->erase(book);
}

absl::StatusOr<UidSheets::Lease> UidSheets::Take(uid_t uid) {
  auto book = books_->find(uid);
  if (book == books_->end()) {
    if (books_->size() >= kUidsMax) return absl::ResourceExhaustedError("too many users have guests");
    auto sheet = UidSheet::Create();
    if (!sheet.ok()) return sheet.status();
    book = books_->emplace(uid, Book{*std::move(sheet), {}}).first;
  }
  std::set<uint32_t>& leased = book->second.leased;
  uint32_t row = 0;
  for (const uint32_t taken : leased) {
    if (taken != row) break;
    ++row;
  }
  if (row >= UidSheet::kRows) return absl::ResourceExhaustedError("the user has too many guests");
  leased.insert(row);
  book->second.sheet->UseRows(row + 1);
  return Lease(books_, uid, row, book->second.sheet->memfd());
}

std::map<uid_t, Amounts> UidSheets::Sums() const {
  std::map<uid_t, Amounts> sums;
  for (const auto& [uid, book] : *books_)
    for (size_t i = 0; i < kResourceCount; ++i)
      sums[uid][static_cast<Resource>(i)] = book.sheet->Sum(static_cast<Resource>(i));
  return sums;
}

}  // namespace nvshim::broker
