#include "broker/run/filter.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <string>

#include "gtest/gtest.h"
#include "proto/abi/spec.h"

namespace nvshim::broker {
namespace {

constexpr uint32_t kRmControl = 0xc020462a;  // NV_ESC_RM_CONTROL with its 32 bytes
constexpr uint32_t kUvmInitialize = 0x30000001;
constexpr uint32_t kUvmDeinitialize = 0x30000002;
constexpr uint32_t kUvmDiscard = 80;  // the last of release 580
constexpr uint32_t kUvmIs8Supported = 2047;
constexpr uint32_t kForeign = 0x12345678;  // nobody's
constexpr long kX32Bit = 0x40000000;
constexpr long kX32Ioctl = 514;
constexpr long kIa32Ioctl = 54;

bool IsRefused(uint32_t request) {
  const auto rules = RefusedRequests();
  return std::any_of(rules.begin(), rules.end(), [&](const auto& rule) { return rule.Matches(request); });
}

// Runs `body` under the filter in a process of its own, because a filter stays. Its failures are the test's.
void UnderFilter(const std::function<void()>& body) {
  const pid_t child = fork();
  if (child == 0) {
    EXPECT_TRUE(InstallFilter().ok());
    body();
    _exit(::testing::Test::HasFailure() ? 1 : 0);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0) << "the failures are above";
}

// The errno of a raw ioctl on a character device with the whole register as given, 0 for success. The device
// takes no ioctl: without a filter the errno is ENOTTY.
int IoctlError(uint64_t request) {
  const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  const long result = syscall(SYS_ioctl, null, request, 0);
  const int error = result == 0 ? 0 : errno;
  close(null);
  return error;
}

// The same through the 32-bit entry of the kernel.
int Ia32IoctlError(uint32_t request) {
  const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  long result;
  // SAFETY: the i386 convention: numbers in eax, ebx, ecx, edx; other registers stay, r8 to r11 may not.
  asm volatile("int $0x80"
               : "=a"(result)
               : "a"(kIa32Ioctl), "b"(null), "c"(request), "d"(0)
               : "memory", "r8", "r9", "r10", "r11");
  close(null);
  return -static_cast<int>(result);
}

// A kernel without 32-bit system calls answers with a signal.
bool HasIa32() {
  const pid_t child = fork();
  if (child == 0) {
    Ia32IoctlError(kForeign);
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return status == 0;
}

TEST(FilterTest, WithoutItTheDeviceAnswers) { EXPECT_EQ(IoctlError(kRmControl), ENOTTY); }

TEST(FilterTest, RefusesEveryEscapeWhateverItsNumberAndSize) {
  UnderFilter([] {
    for (uint32_t number = 0; number < 256; ++number) {
      EXPECT_EQ(IoctlError(0x4600 | number), EPERM) << number;
      EXPECT_EQ(IoctlError(0xc0204600 | number), EPERM) << number;
    }
  });
}

TEST(FilterTest, RefusesEveryCallOfUvm) {
  UnderFilter([] {
    for (uint32_t request = 1; request <= 511; ++request) EXPECT_EQ(IoctlError(request), EPERM) << request;
    for (uint32_t request : {kUvmDiscard, kUvmIs8Supported, kUvmInitialize, kUvmDeinitialize})
      EXPECT_EQ(IoctlError(request), EPERM) << request;
  });
}

TEST(FilterTest, RefusesWhateverTheTablesKnow) {
  for (const abi::Table* table : abi::Tables()) {
    for (const abi::Spec& spec : table->uvm) EXPECT_TRUE(IsRefused(spec.number)) << spec.name;
    for (const abi::Spec& spec : table->escapes)
      EXPECT_TRUE(IsRefused(0xc0000000 | spec.size << 16 | abi::kEscapeType << 8 | spec.number)) << spec.name;
  }
}

// The kernel looks at 32 bits of the register; the rest is the caller's to choose.
TEST(FilterTest, HighBitsOfTheRegisterChangeNothing) {
  UnderFilter([] {
    for (const uint64_t high : {1ull << 32, 1ull << 63, 0xdeadbeefull << 32, 0xffffffffull << 32}) {
      EXPECT_EQ(IoctlError(high | kRmControl), EPERM) << high;
      EXPECT_EQ(IoctlError(high | kUvmInitialize), EPERM) << high;
      EXPECT_EQ(IoctlError(high | kUvmDiscard), EPERM) << high;
      EXPECT_EQ(IoctlError(high | kUvmIs8Supported), EPERM) << high;
      EXPECT_EQ(IoctlError(high | kForeign), ENOTTY) << high;
    }
  });
}

TEST(FilterTest, OtherRequestsGoThrough) {
  UnderFilter([] {
    // Neighbours of what is refused, and what programs use.
    for (const uint32_t request : {0u, 512u, 2046u, 2048u, 0x30000000u, 0x30000003u, 0x4546u, 0x46004700u,
                                   uint32_t{TIOCGWINSZ}, uint32_t{UFFDIO_API}, kForeign})
      EXPECT_EQ(IoctlError(request), ENOTTY) << request;
    int pair[2];
    int waiting = 0;
    ASSERT_EQ(pipe(pair), 0);
    ASSERT_EQ(write(pair[1], "abc", 3), 3);
    EXPECT_EQ(ioctl(pair[0], FIONREAD, &waiting), 0);
    EXPECT_EQ(waiting, 3);
  });
}

TEST(FilterTest, AProgramThatIsStartedIsUnderItAsWell) {
  UnderFilter([] {
    const pid_t child = fork();
    if (child == 0) _exit(IoctlError(kRmControl) == EPERM ? 0 : 1);
    int status = 1;
    waitpid(child, &status, 0);
    EXPECT_EQ(status, 0);
  });
}

TEST(FilterTest, TheEntryFor32BitProgramsIsFilteredAlike) {
  if (!HasIa32()) GTEST_SKIP() << "SKIPPED: this kernel has no 32-bit system calls";
  EXPECT_EQ(Ia32IoctlError(kRmControl), ENOTTY);
  UnderFilter([] {
    EXPECT_EQ(Ia32IoctlError(kRmControl), EPERM);
    EXPECT_EQ(Ia32IoctlError(kUvmInitialize), EPERM);
    EXPECT_EQ(Ia32IoctlError(kUvmDiscard), EPERM);
    EXPECT_EQ(Ia32IoctlError(kUvmIs8Supported), EPERM);
    EXPECT_EQ(Ia32IoctlError(kForeign), ENOTTY);
  });
}

// Both numbers: older kernels took the 64-bit one with the bit set as well.
TEST(FilterTest, X32HasNoIoctl) {
  UnderFilter([] {
    for (const long number : {kX32Bit | kX32Ioctl, kX32Bit | SYS_ioctl}) {
      EXPECT_EQ(syscall(number, STDIN_FILENO, kRmControl, 0), -1);
      EXPECT_EQ(errno, ENOSYS);
    }
  });
}

}  // namespace
}  // namespace nvshim::broker
