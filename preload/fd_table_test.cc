#include "preload/fd_table.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <map>
#include <memory>
#include <vector>

#include "gtest/gtest.h"
// rapidcheck/gtest.h needs gtest.h before it.
#include "rapidcheck/gtest.h"

namespace nvshim::preload {
namespace {

struct TableEntry {
  uint8_t byte;
  uint32_t identity, file_id;
  bool operator==(const TableEntry&) const = default;
};

TableEntry EntryOf(const FdTable& table, int fd) {
  const FdTable::Entry entry = table.Get(fd);
  return {entry.byte, entry.identity, entry.file_id};
}

RC_GTEST_PROP(FdTableTest, HoldsWhatAMapOfTheSameOperationsHolds, ()) {
  const auto table = std::make_unique<FdTable>();
  std::map<int, TableEntry> model;
  const auto fds =
      *rc::gen::container<std::vector<int>>(rc::gen::inRange(-2, static_cast<int>(FdTable::kSize) + 2));
  for (const int fd : fds) {
    const bool inside = fd >= 0 && fd < static_cast<int>(FdTable::kSize);
    switch (*rc::gen::inRange(0, 8)) {
      case 0:
        table->Reset();
        model.clear();
        break;
      case 1:
        table->Clear(fd);
        model.erase(fd);
        break;
      default: {
        const TableEntry entry = {*rc::gen::inRange<uint8_t>(1, 255), *rc::gen::arbitrary<uint32_t>(),
                                  *rc::gen::arbitrary<uint32_t>()};
        table->Set(fd, {entry.byte, entry.identity, entry.file_id});
        if (inside) model[fd] = entry;
      }
    }
    RC_ASSERT(table->Byte(fd) == (model.contains(fd) ? model[fd].byte : FdTable::kUnknown));
  }
  for (const auto& [fd, entry] : model) RC_ASSERT(EntryOf(*table, fd) == entry);
}

TEST(FdTableTest, NumbersOutsideAreUnknownAndHarmless) {
  const auto table = std::make_unique<FdTable>();
  for (const int fd : {-1, -1000, static_cast<int>(FdTable::kSize), INT32_MAX, INT32_MIN}) {
    table->Set(fd, {1, 2, 3});
    EXPECT_EQ(table->Byte(fd), FdTable::kUnknown);
    EXPECT_EQ(table->Get(fd).byte, FdTable::kUnknown);
    table->Clear(fd);
  }
}

TEST(FdTableTest, TwoFilesUnderOneNumberHaveTwoIdentities) {
  int first[2], second[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, first), 0);
  const uint32_t before = IdentityOfFd(first[0]);
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, second), 0);
  EXPECT_NE(before, IdentityOfFd(second[0]));
  EXPECT_NE(before, IdentityOfFd(first[1]));
  ASSERT_EQ(dup2(second[0], first[0]), first[0]);
  EXPECT_NE(before, IdentityOfFd(first[0]));
  EXPECT_EQ(IdentityOfFd(second[0]), IdentityOfFd(first[0]));
  for (const int fd : {first[0], first[1], second[0], second[1]}) close(fd);
}

TEST(FdTableTest, ADuplicateHasTheIdentityOfTheOriginal) {
  const int fd = open("/dev/null", O_RDWR);
  const int duplicate = dup(fd);
  EXPECT_NE(IdentityOfFd(fd), 0u);
  EXPECT_EQ(IdentityOfFd(fd), IdentityOfFd(duplicate));
  close(fd);
  close(duplicate);
}

TEST(FdTableTest, AClosedNumberHasNoIdentity) {
  const int fd = open("/dev/null", O_RDWR);
  close(fd);
  EXPECT_EQ(IdentityOfFd(fd), 0u);
  EXPECT_EQ(IdentityOfFd(-1), 0u);
}

}  // namespace
}  // namespace nvshim::preload
