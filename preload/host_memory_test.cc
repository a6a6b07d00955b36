// The laws of host memory, with this test in the place of the worker: it makes the host files.
#include "preload/host_memory.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace nvshim::preload {
namespace {

constexpr uint64_t kPage = 4096;
constexpr int kReadWrite = PROT_READ | PROT_WRITE;

// The instance that the handlers of fork are about: that of the test that runs.
HostMemory* g_memory = nullptr;

void RegisterForkHandlers() {
  static const int registered = pthread_atfork(
      [] {
        if (g_memory != nullptr) g_memory->BeforeFork();
      },
      [] {
        if (g_memory != nullptr) g_memory->AfterForkInParent();
      },
      [] {
        if (g_memory != nullptr) g_memory->AfterForkInChild();
      });
  ASSERT_EQ(registered, 0);
}

// A host file as the worker makes them.
int MakeFile() {
  const int fd = memfd_create("test", MFD_CLOEXEC);
  EXPECT_EQ(ftruncate(fd, static_cast<off_t>(abi::kHostFileBytes)), 0);
  return fd;
}

uint64_t InodeOf(int fd) {
  struct stat status;
  EXPECT_EQ(fstat(fd, &status), 0);
  return status.st_ino;
}

class HostMemoryTest : public ::testing::Test {
 protected:
  HostMemoryTest() { g_memory = memory_.get(); }
  ~HostMemoryTest() override {
    g_memory = nullptr;
    for (const auto& [at, size_bytes] : mapped_) munmap(at, size_bytes);
  }
  void SetUp() override {
    RegisterForkHandlers();
    if (!PageSwap().Open()) GTEST_SKIP() << "this machine does not let a program use userfaultfd";
  }

  uint8_t* Map(uint64_t pages, int protection = kReadWrite, int flags = MAP_PRIVATE) {
    void* at = mmap(nullptr, pages * kPage, protection, flags | MAP_ANONYMOUS, -1, 0);
    EXPECT_NE(at, MAP_FAILED);
    mapped_.push_back({at, pages * kPage});
    return static_cast<uint8_t*>(at);
  }
  uint32_t Plan(const void* at, uint64_t pages, HostMemoryPlan* plan, bool read_only = false) {
    return memory_->Plan(reinterpret_cast<uint64_t>(at), pages * kPage, read_only, plan);
  }
  uint32_t StatusOf(const void* at, uint64_t pages, bool read_only = false) {
    HostMemoryPlan plan;
    return Plan(at, pages, &plan, read_only);
  }
  // Registers the range; returns the descriptor of the new host file, or -1 when none was needed.
  int Register(const void* at, uint64_t pages) {
    HostMemoryPlan plan;
    EXPECT_EQ(Plan(at, pages, &plan), NV_OK);
    if (!plan.any_new) return -1;
    const int fd = MakeFile();
    EXPECT_TRUE(memory_->Take(plan, fd));
    return fd;
  }

  const std::unique_ptr<HostMemory> memory_ = std::make_unique<HostMemory>();
  std::vector<std::pair<void*, size_t>> mapped_;
};

TEST_F(HostMemoryTest, ContentsStayAndBothSidesSeeWhatIsWrittenAfterwards) {
  uint8_t* const at = Map(16);
  for (uint64_t i = 0; i < 16 * kPage; ++i) at[i] = static_cast<uint8_t>(i * 31);
  const int fd = Register(at + kPage, 14);
  for (uint64_t i = 0; i < 16 * kPage; ++i) ASSERT_EQ(at[i], static_cast<uint8_t>(i * 31));
  const auto offset = static_cast<off_t>(reinterpret_cast<uint64_t>(at) + kPage);
  at[kPage] = 200;
  uint8_t seen = 0;
  ASSERT_EQ(pread(fd, &seen, 1, offset), 1);
  EXPECT_EQ(seen, 200);
  const uint8_t sent = 99;
  ASSERT_EQ(pwrite(fd, &sent, 1, offset + 1), 1);
  EXPECT_EQ(at[kPage + 1], 99);
  close(fd);
}

TEST_F(HostMemoryTest, WhatIsRegisteredAgainIsKnown) {
  uint8_t* const at = Map(16);
  const int fd = Register(at, 16);
  HostMemoryPlan plan;
  ASSERT_EQ(Plan(at + 2 * kPage, 3, &plan), NV_OK);
  EXPECT_FALSE(plan.any_new);
  ASSERT_EQ(plan.count, 1u);
  EXPECT_EQ(plan.pieces[0].inode, InodeOf(fd));
  EXPECT_EQ(plan.pieces[0].offset, reinterpret_cast<uint64_t>(at) + 2 * kPage);
  EXPECT_EQ(plan.pieces[0].size_bytes, 3 * kPage);
  close(fd);
}

TEST_F(HostMemoryTest, ARangeMayBeKnownInPart) {
  uint8_t* const at = Map(16);
  at[0] = 1;
  at[15 * kPage] = 2;
  const int middle = Register(at + 4 * kPage, 4);
  HostMemoryPlan plan;
  ASSERT_EQ(Plan(at, 16, &plan), NV_OK);
  ASSERT_EQ(plan.count, 3u);
  EXPECT_EQ(plan.pieces[0].inode, 0u);
  EXPECT_EQ(plan.pieces[1].inode, InodeOf(middle));
  EXPECT_EQ(plan.pieces[2].inode, 0u);
  EXPECT_EQ(plan.pieces[2].offset, reinterpret_cast<uint64_t>(at) + 8 * kPage);
  const int fd = MakeFile();
  ASSERT_TRUE(memory_->Take(plan, fd));
  EXPECT_EQ(at[0], 1);
  EXPECT_EQ(at[15 * kPage], 2);
  EXPECT_EQ(Register(at, 16), -1) << "all known now";
  close(fd);
  close(middle);
}

TEST_F(HostMemoryTest, WhatIsNoAccessibleMemoryIsAnInvalidAddress) {
  uint8_t* const at = Map(8);
  EXPECT_EQ(StatusOf(at + 1, 1), NV_ERR_INVALID_ADDRESS) << "between pages";
  EXPECT_EQ(
      memory_->Plan(reinterpret_cast<uint64_t>(at), 100, false, std::make_unique<HostMemoryPlan>().get()),
      NV_ERR_INVALID_ADDRESS);
  EXPECT_EQ(StatusOf(at, 0), NV_ERR_INVALID_ADDRESS);
  EXPECT_EQ(StatusOf(reinterpret_cast<void*>(~uint64_t{4095}), 2), NV_ERR_INVALID_ADDRESS);
  ASSERT_EQ(mprotect(at + 2 * kPage, kPage, PROT_READ), 0);
  EXPECT_EQ(StatusOf(at, 8), NV_ERR_INVALID_ADDRESS) << "a page in the middle is read-only";
  EXPECT_EQ(StatusOf(at, 8, true), NV_OK) << "which is enough to be read";
  ASSERT_EQ(mprotect(at + 2 * kPage, kPage, PROT_NONE), 0);
  EXPECT_EQ(StatusOf(at, 8, true), NV_ERR_INVALID_ADDRESS) << "a page in the middle is not accessible";
  ASSERT_EQ(munmap(at + 2 * kPage, kPage), 0);
  EXPECT_EQ(StatusOf(at, 8), NV_ERR_INVALID_ADDRESS) << "a page in the middle is missing";
  EXPECT_EQ(StatusOf(at, 2), NV_OK);
}

int g_data[4 * kPage / sizeof(int)] = {1};

TEST_F(HostMemoryTest, OnlyAnonymousMemoryIsSwapped) {
  const auto page_of = [](const void* at) {
    return reinterpret_cast<void*>((reinterpret_cast<uint64_t>(at) + kPage - 1) & ~(kPage - 1));
  };
  EXPECT_EQ(StatusOf(page_of(g_data), 1), NV_ERR_NOT_SUPPORTED) << "data of a program";
  EXPECT_EQ(StatusOf(Map(1, kReadWrite | PROT_EXEC), 1), NV_ERR_NOT_SUPPORTED) << "code";
  const int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
  void* const of_file = mmap(nullptr, kPage, kReadWrite, MAP_PRIVATE, file, 0);
  EXPECT_EQ(StatusOf(of_file, 1), NV_ERR_NOT_SUPPORTED) << "a file";
  munmap(of_file, kPage);
  close(file);
  const int shared = MakeFile();
  void* const of_shared = mmap(nullptr, kPage, kReadWrite, MAP_SHARED, shared, 0);
  EXPECT_EQ(StatusOf(of_shared, 1), NV_ERR_NOT_SUPPORTED) << "somebody else's memfd";
  munmap(of_shared, kPage);
  close(shared);
}

TEST_F(HostMemoryTest, TheCallersStackIsRefused) {
  uint8_t buffer[4 * kPage];
  const auto in_buffer = [](uint8_t* at) {
    return reinterpret_cast<void*>((reinterpret_cast<uint64_t>(at) + kPage) & ~(kPage - 1));
  };
  EXPECT_EQ(StatusOf(in_buffer(buffer), 2), NV_ERR_NOT_SUPPORTED) << "of the first thread";
  uint32_t status = NV_OK;
  std::thread([&] {
    uint8_t on_thread[4 * kPage];
    status = StatusOf(in_buffer(on_thread), 2);
  }).join();
  EXPECT_EQ(status, NV_ERR_NOT_SUPPORTED) << "of another thread";
}

TEST_F(HostMemoryTest, TheHeadOfAnArenaIsRefused) {
  constexpr uint64_t kAlignment = 64 << 20;
  uint8_t* const at = Map(2 * kAlignment / kPage);
  const uint64_t head = (reinterpret_cast<uint64_t>(at) + kAlignment - 1) & ~(kAlignment - 1);
  EXPECT_EQ(StatusOf(reinterpret_cast<void*>(head), 4), NV_OK);
  *reinterpret_cast<uint64_t*>(head) = head + 48;
  EXPECT_EQ(StatusOf(reinterpret_cast<void*>(head), 4), NV_ERR_NOT_SUPPORTED);
  EXPECT_EQ(StatusOf(reinterpret_cast<void*>(head + kPage), 3), NV_OK);
}

TEST_F(HostMemoryTest, SharedMemoryIsTakenWhileNobodyHasWrittenToIt) {
  uint8_t* const at = Map(8, kReadWrite, MAP_SHARED);
  at[6 * kPage] = 1;
  EXPECT_EQ(StatusOf(at, 8), NV_ERR_NOT_SUPPORTED);
  const int fd = Register(at, 6);
  at[0] = 5;
  uint8_t seen = 0;
  ASSERT_EQ(pread(fd, &seen, 1, static_cast<off_t>(reinterpret_cast<uint64_t>(at))), 1);
  EXPECT_EQ(seen, 5);
  close(fd);
}

TEST_F(HostMemoryTest, AFileThatIsNowhereMappedIsToldOnce) {
  uint8_t* const gone = Map(4);
  const int fd = Register(gone, 4);
  uint8_t* const at = Map(4);
  HostMemoryPlan plan;
  ASSERT_EQ(Plan(at, 4, &plan), NV_OK);
  EXPECT_EQ(plan.count, 1u) << "still mapped";
  ASSERT_EQ(mmap(gone, 4 * kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0), gone);
  HostMemoryPlan after;
  ASSERT_EQ(Plan(at, 4, &after), NV_OK);
  ASSERT_EQ(after.count, 2u);
  EXPECT_EQ(after.pieces[1].inode, InodeOf(fd));
  EXPECT_EQ(after.pieces[1].size_bytes, 0u);
  HostMemoryPlan again;
  ASSERT_EQ(Plan(at, 4, &again), NV_OK);
  EXPECT_EQ(again.count, 1u);
  close(fd);
}

// realloc of a large block is mremap: the block grows into pages of its own, and has its old contents.
TEST_F(HostMemoryTest, SwappedMemoryMayGrow) {
  uint8_t* const at = Map(8);
  at[0] = 1;
  uint8_t* const behind = Map(8);
  const int fd = Register(at, 8), other = Register(behind, 8);
  std::memset(behind, 7, 8 * kPage);
  void* const moved = mremap(at, 8 * kPage, 64 * kPage, MREMAP_MAYMOVE);
  ASSERT_NE(moved, MAP_FAILED);
  auto* const bytes = static_cast<uint8_t*>(moved);
  mapped_[0] = {moved, 64 * kPage};
  EXPECT_EQ(bytes[0], 1);
  for (uint64_t page = 8; page < 64; ++page) ASSERT_EQ(bytes[page * kPage], 0);
  std::memset(bytes, 9, 64 * kPage);
  EXPECT_EQ(behind[0], 7);
  HostMemoryPlan plan;
  ASSERT_EQ(Plan(bytes, 64, &plan), NV_OK);
  EXPECT_FALSE(plan.any_new);
  close(fd);
  close(other);
}

TEST_F(HostMemoryTest, ATableThatIsFullIsSaid) {
  std::vector<int> files;
  for (uint32_t i = 0; i < abi::kHostFilesMax; ++i) files.push_back(Register(Map(2), 1));
  HostMemoryPlan plan;
  ASSERT_EQ(Plan(Map(2), 1, &plan), NV_OK);
  const int fd = MakeFile();
  EXPECT_FALSE(memory_->Take(plan, fd));
  close(fd);
  for (int file : files) close(file);
}

TEST_F(HostMemoryTest, RegistrationsTakeTurns) {
  ASSERT_TRUE(memory_->BeginTurn());
  EXPECT_FALSE(memory_->BeginTurn()) << "a handler on the same thread does not wait for itself";
  std::atomic<bool> got{false};
  std::thread other([&] {
    got = memory_->BeginTurn();
    memory_->EndTurn();
  });
  EXPECT_FALSE(got);
  memory_->EndTurn();
  other.join();
  EXPECT_TRUE(got);
}

// ---- fork ----

// Runs `child` in a forked process and returns what it returned.
template <typename Function>
int InChild(Function child) {
  const pid_t pid = fork();
  if (pid == 0) _exit(child());
  int status = 0;
  EXPECT_EQ(waitpid(pid, &status, 0), pid);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST_F(HostMemoryTest, AForkedChildHasAPrivateCopyOfTheMomentOfTheFork) {
  uint8_t* const at = Map(1024);
  std::memset(at, 1, 1024 * kPage);
  const int fd = Register(at + kPage, 1000);
  int written[2], checked[2];
  ASSERT_EQ(pipe(written), 0);
  ASSERT_EQ(pipe(checked), 0);
  const pid_t pid = fork();
  if (pid == 0) {
    char byte;
    if (read(written[0], &byte, 1) != 1) _exit(2);
    for (uint64_t i = 0; i < 1024 * kPage; ++i)
      if (at[i] != 1) _exit(3);
    std::memset(at, 3, 1024 * kPage);
    _exit(at[5 * kPage] == 3 ? 0 : 4);
  }
  std::memset(at, 2, 1024 * kPage);  // at once: fork has returned, so the child has its copy
  ASSERT_EQ(write(written[1], "", 1), 1);
  int status = 0;
  ASSERT_EQ(waitpid(pid, &status, 0), pid);
  EXPECT_EQ(WIFEXITED(status) ? WEXITSTATUS(status) : -1, 0);
  for (uint64_t i = 0; i < 1024 * kPage; ++i) ASSERT_EQ(at[i], 2);
  EXPECT_EQ(Register(at + kPage, 1000), -1) << "still known in the parent";
  for (int end : {written[0], written[1], checked[0], checked[1], fd}) close(end);
}

TEST_F(HostMemoryTest, AChildKeepsProtectionsAndMayRegisterAnew) {
  uint8_t* const at = Map(8);
  std::memset(at, 4, 8 * kPage);
  const int fd = Register(at, 8);
  ASSERT_EQ(mprotect(at + 2 * kPage, kPage, PROT_READ), 0);
  ASSERT_EQ(mprotect(at + 3 * kPage, kPage, PROT_NONE), 0);
  const int status = InChild([&] {
    int read_only = 0, none = 0;
    MapReader reader;
    for (Mapping mapping; reader.Next(&mapping);) {
      if (mapping.begin <= reinterpret_cast<uint64_t>(at) + 2 * kPage &&
          reinterpret_cast<uint64_t>(at) + 2 * kPage < mapping.end)
        read_only = mapping.protection == PROT_READ && !mapping.shared;
      if (mapping.begin == reinterpret_cast<uint64_t>(at) + 3 * kPage)
        none = mapping.protection == PROT_NONE && !mapping.shared;
    }
    if (mprotect(at + 3 * kPage, kPage, PROT_READ) != 0 || at[3 * kPage] != 4) return 2;
    HostMemoryPlan plan;
    if (Plan(at, 2, &plan) != NV_OK || !plan.any_new || plan.count != 1) return 3;
    return read_only && none ? 0 : 4;
  });
  EXPECT_EQ(status, 0);
  close(fd);
}

TEST_F(HostMemoryTest, SharedMemoryStaysSharedWithAChild) {
  uint8_t* const at = Map(4, kReadWrite, MAP_SHARED);
  const int fd = Register(at, 4);
  EXPECT_EQ(InChild([&] {
              at[0] = 6;
              return 0;
            }),
            0);
  EXPECT_EQ(at[0], 6);
  close(fd);
}

TEST_F(HostMemoryTest, ForkLeavesNoDescriptor) {
  const int fd = Register(Map(4), 4);
  const int before = dup(fd);
  close(before);
  EXPECT_EQ(InChild([&] {
              const int next = dup(fd);
              return next == before ? 0 : 1;
            }),
            0);
  const int after = dup(fd);
  EXPECT_EQ(after, before);
  close(after);
  close(fd);
}

// Threads that write while others fork: nobody waits for anybody who waits.
TEST_F(HostMemoryTest, ThreadsMayForkAtTheSameTime) {
  uint8_t* const at = Map(64);
  const int fd = Register(at, 64);
  std::vector<std::thread> threads;
  std::atomic<int> failed{0};
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&, i] {
      for (int round = 0; round < 20; ++round) {
        volatile uint8_t* const mine = at + i * kPage;
        *mine = static_cast<uint8_t>(round);
        failed += InChild([&] { return *mine == static_cast<uint8_t>(round) ? 0 : 1; }) != 0;
      }
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(failed, 0);
  close(fd);
}

}  // namespace
}  // namespace nvshim::preload
