#include "broker/driver/host_memory.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>

#include "gtest/gtest.h"
#include "proto/abi/host_piece.h"

namespace nvshim::broker {
namespace {

using abi::HostPiece;

constexpr uint64_t kAddress = 0x7f0000000000, kPage = 4096;

class HostMemoryTest : public ::testing::Test {
 protected:
  HostFiles::Registration Register(const std::vector<HostPiece>& pieces, uint64_t size_bytes) {
    return files_.Register(
        {reinterpret_cast<const uint8_t*>(pieces.data()), pieces.size() * sizeof(HostPiece)}, size_bytes);
  }
  // A fresh file of `pages` pages at kAddress.
  uint64_t MakeFile(uint64_t pages) {
    const auto registration = Register({{0, kAddress, pages * kPage}}, pages * kPage);
    EXPECT_EQ(registration.error, 0);
    return registration.made->inode();
  }

  HostMemoryCount count_;
  HostFiles files_{count_};
};

TEST_F(HostMemoryTest, BothSidesSeeOneMemory) {
  const auto registration = Register({{0, kAddress, 2 * kPage}}, 2 * kPage);
  ASSERT_EQ(registration.error, 0);
  const int fd = registration.made->Duplicate();
  auto* guest =
      static_cast<uint8_t*>(mmap(nullptr, 2 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED, fd, kAddress));
  close(fd);
  ASSERT_NE(guest, MAP_FAILED);
  const std::span<uint8_t> window = registration.range->Bytes();
  ASSERT_EQ(window.size(), 2 * kPage);
  guest[kPage] = 7;
  EXPECT_EQ(window[kPage], 7);
  window[1] = 8;
  EXPECT_EQ(guest[1], 8);
  munmap(guest, 2 * kPage);
}

TEST_F(HostMemoryTest, PiecesLieOneBehindTheOtherInTheWindow) {
  const uint64_t a = MakeFile(4);
  const auto whole = Register({{a, kAddress, 4 * kPage}}, 4 * kPage);
  const auto mixed = Register(
      {{0, kAddress - kPage, kPage}, {a, kAddress + 2 * kPage, kPage}, {0, kAddress + 9 * kPage, kPage}},
      3 * kPage);
  ASSERT_EQ(mixed.error, 0);
  ASSERT_NE(mixed.made, nullptr);
  EXPECT_NE(mixed.made->inode(), a);
  whole.range->Bytes()[2 * kPage + 5] = 42;
  EXPECT_EQ(mixed.range->Bytes()[kPage + 5], 42);
  mixed.range->Bytes()[2 * kPage] = 3;
  uint8_t byte = 0;
  ASSERT_EQ(pread(mixed.made->fd(), &byte, 1, kAddress + 9 * kPage), 1);
  EXPECT_EQ(byte, 3) << "new pieces share one file, each at its own offset";
}

TEST_F(HostMemoryTest, WhatIsKnownNeedsNoNewFile) {
  const uint64_t a = MakeFile(4);
  const auto again = Register({{a, kAddress, 4 * kPage}}, 4 * kPage);
  EXPECT_EQ(again.error, 0);
  EXPECT_EQ(again.made, nullptr);
  EXPECT_EQ(count_.files, 1u);
}

TEST_F(HostMemoryTest, AListThatIsNoRangeOfPagesIsRefused) {
  const uint64_t a = MakeFile(4);
  const uint64_t top = abi::kHostFileBytes;
  const struct {
    const char* law;
    std::vector<HostPiece> pieces;
    uint64_t size_bytes;
  } kCases[] = {
      {"nothing", {}, kPage},
      {"nothing, of no size", {}, 0},
      {"only forgotten files", {{77, 0, 0}}, 0},
      {"less than the range", {{0, kAddress, kPage}}, 2 * kPage},
      {"more than the range", {{0, kAddress, 2 * kPage}}, kPage},
      {"half a page", {{0, kAddress, kPage / 2}}, kPage / 2},
      {"between pages", {{0, kAddress + 8, kPage}}, kPage},
      {"beyond the file", {{a, top, kPage}}, kPage},
      {"across the end of the file", {{a, top - kPage, 2 * kPage}}, 2 * kPage},
      {"a sum of 2^64", {{0, ~uint64_t{0} - kPage + 1, kPage}}, kPage},
      {"a size of 2^64", {{0, kAddress, ~uint64_t{0} - kPage + 1}}, ~uint64_t{0} - kPage + 1},
      {"sizes that overflow to the right sum",
       {{0, 0, uint64_t{1} << 63}, {0, kPage, uint64_t{1} << 63}, {0, kAddress, kPage}},
       kPage},
      {"one page twice", {{a, kAddress, kPage}, {a, kAddress, kPage}}, 2 * kPage},
      {"an overlap", {{a, kAddress, 2 * kPage}, {a, kAddress + kPage, 2 * kPage}}, 4 * kPage},
      {"a new page twice", {{0, kAddress, kPage}, {0, kAddress, kPage}}, 2 * kPage},
  };
  for (const auto& one : kCases) {
    const auto registration = Register(one.pieces, one.size_bytes);
    EXPECT_EQ(registration.error, EINVAL) << one.law;
    EXPECT_EQ(registration.range, nullptr) << one.law;
    EXPECT_EQ(registration.made, nullptr) << one.law;
  }
  EXPECT_EQ(count_.files, 1u);
}

TEST_F(HostMemoryTest, AFileOfAnotherProcessDoesNotExist) {
  HostFiles other(count_);
  const uint64_t mine = MakeFile(1);
  const HostPiece piece = {mine, kAddress, kPage};
  EXPECT_EQ(other.Register({reinterpret_cast<const uint8_t*>(&piece), sizeof(piece)}, kPage).error, ENOENT);
  EXPECT_EQ(Register({{mine + 1, kAddress, kPage}}, kPage).error, ENOENT);
}

TEST_F(HostMemoryTest, WhatIsForgottenIsReleasedWhenNothingUsesIt) {
  auto used = Register({{0, kAddress, kPage}}, kPage);
  const uint64_t inode = used.made->inode();
  used.made = nullptr;
  ASSERT_EQ(Register({{0, kAddress, kPage}, {inode, 0, 0}}, kPage).error, 0);
  EXPECT_EQ(files_.size(), 1u);
  EXPECT_EQ(count_.files, 2u) << "the first registration still has its pages";
  EXPECT_EQ(used.range->Bytes().size(), kPage);
  EXPECT_EQ(Register({{inode, kAddress, kPage}}, kPage).error, ENOENT);
  used.range = nullptr;
  EXPECT_EQ(count_.files, 1u);
}

TEST_F(HostMemoryTest, OneProcessKeepsABoundedNumber) {
  for (uint32_t i = 0; i < abi::kHostFilesMax; ++i) MakeFile(1);
  EXPECT_EQ(Register({{0, kAddress, kPage}}, kPage).error, ENOSPC);
  EXPECT_EQ(count_.files, abi::kHostFilesMax);
}

TEST_F(HostMemoryTest, NothingRemainsOfAProcess) {
  {
    HostFiles files(count_);
    const HostPiece piece = {0, kAddress, kPage};
    const auto registration =
        files.Register({reinterpret_cast<const uint8_t*>(&piece), sizeof(piece)}, kPage);
    EXPECT_FALSE(registration.range->Bytes().empty());
    EXPECT_EQ(count_.mappings, 1u);
  }
  EXPECT_EQ(count_.files, 0u);
  EXPECT_EQ(count_.mappings, 0u);
}

TEST_F(HostMemoryTest, AGuestCannotMakeAWindowFault) {
  const auto registration = Register({{0, kAddress, kPage}}, kPage);
  const int fd = registration.made->Duplicate();
  EXPECT_EQ(ftruncate(fd, 0), -1);
  EXPECT_EQ(errno, EPERM);
  close(fd);
}

TEST(HostFileTest, NoMoreFilesThanTheBoundForAllGuests) {
  HostMemoryCount count;
  count.files = kHostFilesAliveMax - 1;
  auto last = HostFile::Make(count);
  ASSERT_NE(last, nullptr);
  EXPECT_EQ(HostFile::Make(count), nullptr);
  EXPECT_EQ(errno, EMFILE);
  last.reset();
  EXPECT_NE(HostFile::Make(count), nullptr);
}

}  // namespace
}  // namespace nvshim::broker
