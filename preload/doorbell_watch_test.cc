// The test is the worker: it asks through the state word, and hears the bell.
#include "preload/doorbell_watch.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "proto/wire/region.h"

namespace nvshim::preload {
namespace {

constexpr size_t kPageSizeBytes = 64 << 10;

// The thread lives as long as the process, and so does what it uses.
struct World {
  std::atomic<uint32_t> state{wire::kDoorbellNone};
  int bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  FdTable fds;
  DoorbellWatch watch;
};

class DoorbellWatchTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const long fd = syscall(SYS_userfaultfd, O_CLOEXEC | 1);
    if (fd < 0)
      GTEST_SKIP() << "userfaultfd: " << strerror(errno) << "; the simulated GPU looks by itself here";
    close(static_cast<int>(fd));
    world_ = new World;
    world_->watch.Open(&world_->state, world_->bell, &world_->fds);
  }

  // Shared memory that can only be written, as libcuda maps the doorbells.
  volatile uint32_t* MapPage() {
    const int fd = memfd_create("doorbells", MFD_CLOEXEC);
    EXPECT_EQ(ftruncate(fd, kPageSizeBytes), 0);
    void* page = mmap(nullptr, kPageSizeBytes, PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    EXPECT_NE(page, MAP_FAILED);
    world_->watch.Add(reinterpret_cast<uint64_t>(page), kPageSizeBytes);
    return static_cast<volatile uint32_t*>(page);
  }
  // True when `condition` has become so; false after a time that no working watch takes.
  template <typename Condition>
  static bool Await(Condition condition) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (!condition()) {
      if (std::chrono::steady_clock::now() > deadline) return false;
      std::this_thread::yield();
    }
    return true;
  }
  bool AwaitState(uint32_t state) {
    return Await([&] { return world_->state.load() == state; });
  }
  bool Arm() {
    const bool armed = Await([this] {
      Ask();
      return world_->state.load() == wire::kDoorbellArmed;
    });
    TakeRings();
    return armed;
  }
  void Ask() {
    uint32_t open = wire::kDoorbellOpen;
    if (world_->state.compare_exchange_strong(open, wire::kDoorbellAsked)) FutexWake(&world_->state, 1, 0);
  }
  uint64_t TakeRings() {
    uint64_t count = 0;
    return read(world_->bell, &count, sizeof(count)) == sizeof(count) ? count : 0;
  }
  bool Rings() {
    pollfd bell = {world_->bell, POLLIN, 0};
    return poll(&bell, 1, 30'000) == 1;
  }

  World* world_ = nullptr;
};

TEST_F(DoorbellWatchTest, TheFirstStoreRingsAndGoesThrough) {
  volatile uint32_t* page = MapPage();
  for (uint32_t round = 1; round <= 100; ++round) {
    ASSERT_TRUE(Arm());
    EXPECT_EQ(TakeRings(), 0u);
    page[0x90 / 4] = round;
    EXPECT_NE(world_->state.load(), wire::kDoorbellArmed)
        << "the next store goes unnoticed: that must be seen";
    ASSERT_TRUE(Rings());
    EXPECT_EQ(page[0x90 / 4], round);
    page[0x90 / 4] = 0;
  }
}

TEST_F(DoorbellWatchTest, APageThatIsAddedLaterIsWatchedToo) {
  MapPage();
  ASSERT_TRUE(Arm());
  volatile uint32_t* second = MapPage();
  EXPECT_NE(world_->state.load(), wire::kDoorbellArmed);
  ASSERT_TRUE(Arm());
  *second = 1;
  EXPECT_NE(world_->state.load(), wire::kDoorbellArmed);
  EXPECT_TRUE(Rings());
}

TEST_F(DoorbellWatchTest, PagesThatAreGoneDoNotKeepTheOthersFromBeingArmed) {
  volatile uint32_t* gone = MapPage();
  volatile uint32_t* page = MapPage();
  ASSERT_TRUE(Arm());
  munmap(const_cast<uint32_t*>(gone), kPageSizeBytes);
  *page = 1;
  ASSERT_TRUE(Arm());
  *page = 2;
  EXPECT_NE(world_->state.load(), wire::kDoorbellArmed);
  EXPECT_TRUE(Rings());
}

TEST_F(DoorbellWatchTest, MorePagesThanItWatchesEndTheWatching) {
  for (int i = 0; i < 17; ++i) MapPage();
  EXPECT_TRUE(AwaitState(wire::kDoorbellNone));
  volatile uint32_t* page = MapPage();
  *page = 1;  // and no store hangs
  Ask();
  EXPECT_EQ(world_->state.load(), wire::kDoorbellNone);
}

TEST_F(DoorbellWatchTest, StoresOfManyThreadsAllGoThrough) {
  volatile uint32_t* page = MapPage();
  constexpr uint32_t kThreads = 8, kRounds = 2000;
  std::vector<std::thread> threads;
  std::atomic<uint32_t> running{kThreads};
  for (uint32_t i = 0; i < kThreads; ++i)
    threads.emplace_back([&, i] {
      for (uint32_t round = 1; round <= kRounds; ++round) page[i] = round;
      --running;
    });
  while (running != 0) Ask();
  for (std::thread& thread : threads) thread.join();
  for (uint32_t i = 0; i < kThreads; ++i) EXPECT_EQ(page[i], kRounds);
}

TEST_F(DoorbellWatchTest, TheProgramsDescriptorsStayItsOwn) {
  volatile uint32_t* page = MapPage();
  ASSERT_TRUE(Arm());
  int pipe_fds[2];
  ASSERT_EQ(pipe(pipe_fds), 0);
  close(pipe_fds[1]);
  char byte;
  EXPECT_EQ(read(pipe_fds[0], &byte, 1), 0) << "the thread holds no copy that keeps a pipe open";
  close(pipe_fds[0]);
  // A program that closes everything it does not know does not stop the watching.
  const int bell = fcntl(world_->bell, F_DUPFD_CLOEXEC, 500);
  syscall(SYS_close_range, 3, 499, 0);
  world_->bell = bell;
  *page = 1;
  EXPECT_NE(world_->state.load(), wire::kDoorbellArmed);
  EXPECT_TRUE(Rings());
}

TEST_F(DoorbellWatchTest, AChildsStoresDoNotHang) {
  volatile uint32_t* page = MapPage();
  ASSERT_TRUE(Arm());
  const pid_t child = fork();
  if (child == 0) {
    *page = 1;
    _exit(0);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace nvshim::preload
