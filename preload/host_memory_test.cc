#include "preload/host_memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstring>

#include "gtest/gtest.h"

namespace nvshim::preload {
namespace {

constexpr size_t kSize = 16 * 4096;

class HostMemoryTest : public ::testing::Test {
 protected:
  HostMemoryTest()
      : memory_(static_cast<uint8_t*>(
            mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))),
        fd_(memfd_create("test", MFD_CLOEXEC)) {
    EXPECT_EQ(ftruncate(fd_, kSize), 0);
  }
  ~HostMemoryTest() override {
    munmap(memory_, kSize);
    close(fd_);
  }
  uint64_t address() const { return reinterpret_cast<uint64_t>(memory_); }

  uint8_t* const memory_;
  const int fd_;
};

TEST_F(HostMemoryTest, ContentsStayAndBothSidesSeeWhatIsWrittenAfterwards) {
  for (size_t i = 0; i < kSize; ++i) memory_[i] = static_cast<uint8_t>(i * 31);
  ASSERT_TRUE(CanShare(address() + 4096, kSize - 8192));
  ASSERT_TRUE(ShareAs(address() + 4096, kSize - 8192, fd_));
  for (size_t i = 0; i < kSize; ++i) ASSERT_EQ(memory_[i], static_cast<uint8_t>(i * 31));
  memory_[4096] = 200;
  uint8_t seen = 0;
  ASSERT_EQ(pread(fd_, &seen, 1, 0), 1);
  EXPECT_EQ(seen, 200);
  const uint8_t sent = 99;
  ASSERT_EQ(pwrite(fd_, &sent, 1, 1), 1);
  EXPECT_EQ(memory_[4097], 99);
}

TEST_F(HostMemoryTest, OnlyWholePagesOfPlainMemoryAreShared) {
  EXPECT_FALSE(CanShare(address() + 1, 4096));
  EXPECT_FALSE(CanShare(address(), 100));
  EXPECT_FALSE(CanShare(address(), 0));
  EXPECT_FALSE(CanShare(~uint64_t{4095}, 8192));
  EXPECT_FALSE(CanShare(reinterpret_cast<uint64_t>(__builtin_frame_address(0)) & ~uint64_t{4095}, 4096))
      << "stack";
  EXPECT_FALSE(CanShare(reinterpret_cast<uint64_t>(&CanShare) & ~uint64_t{4095}, 4096)) << "a file";
  ASSERT_EQ(mprotect(memory_ + 8192, 4096, PROT_READ), 0);
  EXPECT_FALSE(CanShare(address(), kSize)) << "a page in the middle is read-only";
  EXPECT_TRUE(CanShare(address(), 8192));
  ASSERT_EQ(munmap(memory_ + 8192, 4096), 0);
  EXPECT_FALSE(CanShare(address(), kSize)) << "a page in the middle is missing";
}

TEST_F(HostMemoryTest, SharedAnonymousMemoryCountsAsPlain) {
  void* shared = mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  EXPECT_TRUE(CanShare(reinterpret_cast<uint64_t>(shared), 8192));
  munmap(shared, 8192);
}

TEST_F(HostMemoryTest, WhatIsSharedIsNotSharedAgain) {
  ASSERT_TRUE(ShareAs(address(), 4096, fd_));
  EXPECT_FALSE(CanShare(address(), 4096));
}

}  // namespace
}  // namespace nvshim::preload
