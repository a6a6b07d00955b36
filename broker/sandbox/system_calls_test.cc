#include "broker/sandbox/system_calls.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <functional>
#include <thread>

#include "proto/abi/spec.h"

namespace nvshim::broker {
namespace {

// What `call` comes to in a confined process: 0, or the errno.
int Confined(const std::function<int()>& call) {
  const pid_t child = fork();
  if (child == 0) {
    if (!ConfineSystemCalls().ok()) _exit(255);
    errno = 0;
    _exit(call() < 0 ? errno : 0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

class SystemCallsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!kConfinesSystemCalls) GTEST_SKIP() << "a build with a sanitizer is not confined";
  }
};

TEST_F(SystemCallsTest, NoProgramAndNoProcessIsStarted) {
  char path[] = "/bin/true";
  char* const arguments[] = {path, nullptr};
  EXPECT_EQ(Confined([&] { return execv(path, arguments); }), EPERM);
  EXPECT_EQ(Confined([] { return fork(); }), EPERM);
  EXPECT_EQ(Confined([] { return vfork(); }), EPERM);
}

TEST_F(SystemCallsTest, NobodyIsReached) {
  EXPECT_EQ(Confined([] { return socket(AF_INET, SOCK_STREAM, 0); }), EPERM);
  EXPECT_EQ(Confined([] { return socket(AF_UNIX, SOCK_SEQPACKET, 0); }), EPERM);
  EXPECT_EQ(Confined([] {
              int ends[2];
              sockaddr address{.sa_family = AF_UNIX, .sa_data = "x"};
              return socketpair(AF_UNIX, SOCK_STREAM, 0, ends) ?: connect(ends[0], &address, sizeof(address));
            }),
            EPERM);
  EXPECT_EQ(Confined([] { return kill(getppid(), 0); }), EPERM);
  EXPECT_EQ(Confined([] { return static_cast<int>(ptrace(PTRACE_ATTACH, getppid(), 0, 0)); }), EPERM);
}

TEST_F(SystemCallsTest, NothingNewCanBeExecutedOrMadeInTheFileSystem) {
  EXPECT_EQ(Confined([] {
              return mmap(nullptr, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) ==
                             MAP_FAILED
                         ? -1
                         : 0;
            }),
            EPERM);
  EXPECT_EQ(Confined([] {
              void* const page = mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
              return mprotect(page, 4096, PROT_EXEC);
            }),
            EPERM);
  EXPECT_EQ(Confined([] { return open("/tmp/nvshim-none", O_WRONLY | O_CREAT, 0600); }), EPERM);
  EXPECT_EQ(Confined([] { return open("/dev/null", O_WRONLY | O_TRUNC); }), EPERM);
  EXPECT_EQ(Confined([] { return unlink("/tmp/nvshim-none"); }), EPERM);
}

TEST_F(SystemCallsTest, IoctlsAreNvidiasAlone) {
  const int fd = open("/dev/null", O_RDWR);
  const auto ioctl_of = [fd](unsigned long request) {
    return Confined([=] { return ioctl(fd, request, nullptr); });
  };
  EXPECT_EQ(ioctl_of(TIOCSTI), EPERM);
  EXPECT_EQ(ioctl_of(_IOWR('F', 0x2a, int)), ENOTTY) << "not refused, and not understood by this file";
  EXPECT_EQ(ioctl_of(0x30000001), ENOTTY);
  close(fd);
}

TEST_F(SystemCallsTest, WhatAWorkerDoesIsLeft) {
  EXPECT_EQ(Confined([] {
              std::atomic<int> ran = 0;
              std::thread([&] { ran = 1; }).join();
              return ran - 1;
            }),
            0);
  EXPECT_EQ(Confined([] {
              const int memfd = memfd_create("m", MFD_CLOEXEC);
              return ftruncate(memfd, 4096) ?: fcntl(memfd, F_GETFD);
            }),
            0);
  EXPECT_EQ(Confined([] { return open("/proc/self/maps", O_RDONLY) < 0 ? -1 : 0; }), 0);
  EXPECT_EQ(Confined([] { return eventfd(0, EFD_CLOEXEC) < 0 ? -1 : 0; }), 0);
}

TEST_F(SystemCallsTest, ThreadsThatAreThereAlreadyAreConfinedAsWell) {
  const pid_t child = fork();
  if (child == 0) {
    std::atomic<bool> confined = false;
    std::atomic<int> error = 0;
    std::thread other([&] {
      while (!confined) std::this_thread::yield();
      error = socket(AF_INET, SOCK_STREAM, 0) < 0 ? errno : 0;
    });
    const bool ok = ConfineSystemCalls().ok();
    confined = true;
    other.join();
    _exit(ok ? error.load() : 255);
  }
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_EQ(WEXITSTATUS(status), EPERM);
}

}  // namespace
}  // namespace nvshim::broker
