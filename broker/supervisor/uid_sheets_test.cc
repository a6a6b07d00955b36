// Laws of the rows: each is leased to one at a time, guests of one uid share a sheet and those of two do not,
// and what a row said is gone with its lease.
#include "broker/supervisor/uid_sheets.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <optional>
#include <set>
#include <vector>

namespace nvshim::broker {
namespace {

// As the worker of the lease's guest holds it.
void Hold(const UidSheets::Lease& lease, uint64_t files) {
  UidRow row(*UidSheet::Map(Fd(dup(lease.memfd()))), lease.row(), NoLimits());
  EXPECT_TRUE(row.Raise(Resource::kFiles, 0, files));
}

TEST(UidSheetsTest, TheSumsAreThoseOfTheRowsThatAreLeased) {
  UidSheets sheets;
  EXPECT_TRUE(sheets.Sums().empty());
  std::optional first = *sheets.Take(1000), second = *sheets.Take(1000), other = *sheets.Take(1001);
  Hold(*first, 3);
  Hold(*second, 4);
  Hold(*other, 5);
  EXPECT_EQ(sheets.Sums()[1000][Resource::kFiles], 7u);
  EXPECT_EQ(sheets.Sums()[1001][Resource::kFiles], 5u);
  first.reset();
  EXPECT_EQ(sheets.Sums()[1000][Resource::kFiles], 4u);
  second.reset();
  other.reset();
  EXPECT_TRUE(sheets.Sums().empty());
}

TEST(UidSheetsTest, ARowIsNobodyElsesUntilItsLeaseEnds) {
  UidSheets sheets;
  std::vector<UidSheets::Lease> leases;
  std::set<uint32_t> rows;
  for (uint32_t i = 0; i < UidSheet::kRows; ++i) {
    leases.push_back(*sheets.Take(7));
    rows.insert(leases.back().row());
  }
  EXPECT_EQ(rows.size(), UidSheet::kRows);
  EXPECT_FALSE(sheets.Take(7).ok());
  const uint32_t row = leases[17].row();
  Hold(leases[17], 1);
  leases.erase(leases.begin() + 17);
  EXPECT_EQ(sheets.Sums()[7][Resource::kFiles], 0u);
  EXPECT_EQ((*sheets.Take(7)).row(), row);
}

TEST(UidSheetsTest, ALeaseMayOutliveThem) {
  std::optional<UidSheets> sheets(std::in_place);
  const UidSheets::Lease lease = *sheets->Take(7);
  sheets.reset();
  Hold(lease, 1);
}

}  // namespace
}  // namespace nvshim::broker
