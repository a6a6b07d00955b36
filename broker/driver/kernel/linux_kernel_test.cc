// Laws: a watched open file is held as long as any process has a descriptor or a mapping of it, and no
// longer.
#include "broker/driver/kernel/linux_kernel.h"

#include <gtest/gtest.h>
#include <linux/io_uring.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <string>

namespace nvshim::broker::kernel {
namespace {

using Ids = absl::flat_hash_set<uint64_t>;

TEST(LinuxKernelTest, AWatchedFileIsHeldUntilItsLastDescriptorIsClosed) {
  const auto kernel = MakeLinuxKernel();
  EXPECT_EQ(kernel->Held(), Ids{});
  const int first = eventfd(0, 0), second = dup(first), other = eventfd(0, 0);
  ASSERT_TRUE(kernel->Watch(first, 0xabc));
  ASSERT_TRUE(kernel->Watch(other, 7));
  kernel->Close(first);
  EXPECT_EQ(kernel->Held(), (Ids{0xabc, 7}));
  kernel->Close(second);
  EXPECT_EQ(kernel->Held(), Ids{7});
  kernel->Close(other);
  EXPECT_EQ(kernel->Held(), Ids{});
}

TEST(LinuxKernelTest, AMappingHoldsTheFileWithoutAnyDescriptor) {
  const auto kernel = MakeLinuxKernel();
  io_uring_params params =
      {};  // of the files that can be both polled and mapped, the one that any user can make
  const int ring = static_cast<int>(syscall(SYS_io_uring_setup, 1, &params));
  if (ring < 0) GTEST_SKIP() << "no io_uring here: errno " << errno;
  void* const mapping = mmap(nullptr, 4096, PROT_READ, MAP_SHARED, ring, IORING_OFF_SQ_RING);
  ASSERT_NE(mapping, MAP_FAILED);
  ASSERT_TRUE(kernel->Watch(ring, 1));
  kernel->Close(ring);
  EXPECT_EQ(kernel->Held(), Ids{1});
  munmap(mapping, 4096);
  EXPECT_EQ(kernel->Held(), Ids{});
}

TEST(LinuxKernelTest, AnotherProcessHoldsTheFile) {
  const auto kernel = MakeLinuxKernel();
  const int fd = eventfd(0, 0);
  int until[2];
  ASSERT_EQ(pipe(until), 0);
  ASSERT_TRUE(kernel->Watch(fd, 5));
  const pid_t child = fork();
  if (child == 0) {
    close(until[1]);
    char byte;
    _exit(read(until[0], &byte, 1) == 0 ? 0 : 1);
  }
  kernel->Close(fd);
  EXPECT_EQ(kernel->Held(), Ids{5});
  close(until[1]);
  ASSERT_EQ(waitpid(child, nullptr, 0), child);
  EXPECT_EQ(kernel->Held(), Ids{});
  close(until[0]);
}

// As a worker is: of another user, and not dumpable, whose /proc/self is root's.
TEST(LinuxKernelTest, AWorkerWithoutPrivilegesIsToldToo) {
  const pid_t child = fork();
  if (child == 0) {
    // In a user namespace there may be no other; then as the same user.
    if (geteuid() == 0 && setresuid(65534, 65534, 65534) != 0 && errno != EINVAL) _exit(1);
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    const auto kernel = MakeLinuxKernel();
    const int fd = eventfd(0, 0);
    if (!kernel->Watch(fd, 5) || kernel->Held() != Ids{5}) _exit(2);
    kernel->Close(fd);
    _exit(kernel->Held().empty() ? 0 : 3);
  }
  int status;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST(LinuxKernelTest, WhatCannotBeReadIsToldFromWhatIsEmpty) {
  const auto kernel = MakeLinuxKernel();
  EXPECT_EQ(kernel->Read("/proc/no/such/file"), std::nullopt);
  EXPECT_EQ(kernel->Read("/dev/null"), "");
  EXPECT_TRUE(kernel->List("/proc/no/such/folder").empty());
  EXPECT_EQ(kernel->List("/proc/self/ns").empty(), false);
  EXPECT_EQ(kernel->Open("/dev/no-such-device", 0), -ENOENT);
}

}  // namespace
}  // namespace nvshim::broker::kernel
