// The laws of a swap that other threads do not notice. The writers count in memory, each in a word of its own
// of every page, and remember how far they got: a write that is lost is a number that is too small.
#include "preload/page_swap.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "preload/memory_map.h"
#include "preload/syscalls.h"

namespace nvshim::preload {
namespace {

constexpr uint64_t kPage = 4096;
constexpr int kReadWrite = PROT_READ | PROT_WRITE;

struct Region {
  explicit Region(uint64_t pages) : pages(pages) {
    void* at = mmap(nullptr, pages * kPage, kReadWrite, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memory = static_cast<uint8_t*>(at);
  }
  ~Region() { munmap(memory, pages * kPage); }
  uint64_t address() const { return reinterpret_cast<uint64_t>(memory); }
  volatile uint64_t& Word(uint64_t page, uint64_t index) const {
    return reinterpret_cast<volatile uint64_t*>(memory + page * kPage)[index];
  }

  const uint64_t pages;
  uint8_t* memory;
};

class PageSwapTest : public ::testing::Test {
 protected:
  PageSwapTest() : file_(memfd_create("test", MFD_CLOEXEC)) {
    EXPECT_EQ(ftruncate(file_, off_t{1} << 47), 0);
  }
  ~PageSwapTest() override { close(file_); }
  void SetUp() override {
    if (!swap_.Open()) GTEST_SKIP() << "this machine does not let a program use userfaultfd";
  }

  PageSwap swap_;
  const int file_;
};

// Threads that count in the pages [first, first + pages) of a region, wherever `first` is moved, until told
// to stop.
class Writers {
 public:
  static constexpr int kThreads = 3;

  Writers(const Region& region, uint64_t pages)
      : region_(region), pages_(pages), counts_(kThreads, std::vector<uint64_t>(region.pages)) {
    for (int i = 0; i < kThreads; ++i) threads_.emplace_back([this, i] { Run(i); });
  }
  void MoveTo(uint64_t page) { first_.store(page); }
  // Once every thread has been through all pages since the call.
  void AwaitRound() {
    for (int i = 0; i < kThreads; ++i)
      for (const uint64_t start = rounds_[i].load(); rounds_[i].load() < start + 2;)
        std::this_thread::yield();
  }
  void Stop() {
    stop_.store(true);
    for (std::thread& thread : threads_) thread.join();
  }
  // Writes that are not in memory.
  uint64_t Lost() const {
    uint64_t lost = 0;
    for (int i = 0; i < kThreads; ++i)
      for (uint64_t page = 0; page < region_.pages; ++page)
        lost += counts_[i][page] - region_.Word(page, static_cast<uint64_t>(i));
    return lost;
  }

 private:
  void Run(int thread) {
    for (; !stop_.load(std::memory_order_relaxed); ++rounds_[thread]) {
      const uint64_t first = first_.load(std::memory_order_relaxed);
      for (uint64_t page = first; page < first + pages_; ++page) {
        volatile uint64_t& word = region_.Word(page, static_cast<uint64_t>(thread));
        word = word + 1;
        ++counts_[thread][page];
      }
    }
  }

  const Region& region_;
  const uint64_t pages_;
  std::atomic<uint64_t> first_{0};
  std::atomic<bool> stop_{false};
  std::atomic<uint64_t> rounds_[kThreads] = {};
  std::vector<std::vector<uint64_t>> counts_;
  std::vector<std::thread> threads_;
};

TEST_F(PageSwapTest, NoWriteOfAnotherThreadIsLost) {
  constexpr uint64_t kSwaps = 100, kPages = 16;
  const Region region(kSwaps * kPages + 2);
  Writers writers(region, kPages + 2);  // the neighbours too
  for (uint64_t i = 0; i < kSwaps; ++i) {
    writers.MoveTo(i * kPages);
    writers.AwaitRound();
    EXPECT_TRUE(swap_.Swap(region.address() + (i * kPages + 1) * kPage, kPages * kPage, kReadWrite, file_));
  }
  writers.AwaitRound();
  writers.Stop();
  EXPECT_EQ(writers.Lost(), 0u);
}

TEST_F(PageSwapTest, AFailureLeavesNobodyAsleepAndNothingChanged) {
  const Region region(16);
  Writers writers(region, 16);
  const int read_only = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
  for (int i = 0; i < 100; ++i) {
    writers.AwaitRound();
    EXPECT_FALSE(swap_.Swap(region.address(), 16 * kPage, kReadWrite, read_only));
  }
  writers.AwaitRound();
  writers.Stop();
  close(read_only);
  EXPECT_EQ(writers.Lost(), 0u);
}

// What was never touched is there as well, and a range of several stretches is one mapping afterwards.
TEST_F(PageSwapTest, ContentsStayAndTheFileHasThemAtTheirAddress) {
  const Region region(3 * 512 + 7);
  for (uint64_t page = 0; page < region.pages; page += 2) region.Word(page, 3) = page + 1;
  ASSERT_TRUE(swap_.Swap(region.address(), region.pages * kPage, kReadWrite, file_));
  for (uint64_t page = 0; page < region.pages; ++page) {
    uint64_t expected = page % 2 == 0 ? page + 1 : 0, seen = ~uint64_t{0};
    ASSERT_EQ(region.Word(page, 3), expected) << page;
    ASSERT_EQ(pread(file_, &seen, 8, static_cast<off_t>(region.address() + page * kPage + 24)), 8);
    ASSERT_EQ(seen, expected) << page;
  }
  region.Word(5, 0) = 99;
  uint64_t seen = 0;
  ASSERT_EQ(pread(file_, &seen, 8, static_cast<off_t>(region.address() + 5 * kPage)), 8);
  EXPECT_EQ(seen, 99u);
  MapReader reader;
  for (Mapping mapping; reader.Next(&mapping);)
    if (mapping.begin <= region.address() && region.address() < mapping.end) {
      EXPECT_GE(mapping.end, region.address() + region.pages * kPage);
      EXPECT_EQ(mapping.begin, region.address());
      EXPECT_EQ(mapping.offset, region.address());
    }
}

TEST_F(PageSwapTest, ReadOnlyMemoryStaysReadOnly) {
  const Region region(4);
  region.Word(1, 0) = 5;
  ASSERT_EQ(mprotect(region.memory, 4 * kPage, PROT_READ), 0);
  ASSERT_TRUE(swap_.Swap(region.address(), 4 * kPage, PROT_READ, file_));
  EXPECT_EQ(region.Word(1, 0), 5u);
  MapReader reader;
  for (Mapping mapping; reader.Next(&mapping);) {
    if (mapping.begin == region.address()) {
      EXPECT_EQ(mapping.protection, PROT_READ);
    }
  }
}

uint64_t LockedKib() {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;)
    if (word == "VmLck:") {
      uint64_t kib;
      status >> kib;
      return kib;
    }
  return 0;
}

TEST_F(PageSwapTest, LockedMemoryStaysLockedAndOtherMemoryDoesNotBecomeSo) {
  const Region region(16);
  ASSERT_EQ(mlock(region.memory, 8 * kPage), 0);
  const uint64_t before_kib = LockedKib();
  ASSERT_TRUE(swap_.Swap(region.address(), 8 * kPage, kReadWrite, file_));
  ASSERT_TRUE(swap_.Swap(region.address() + 8 * kPage, 8 * kPage, kReadWrite, file_));
  EXPECT_EQ(LockedKib(), before_kib);
}

// With the limits of an unprivileged process a system call may fail where this one waits.
TEST_F(PageSwapTest, ASystemCallThatWritesWaitsToo) {
  const int fd = static_cast<int>(Syscall(SYS_userfaultfd, O_CLOEXEC));
  if (fd < 0) GTEST_SKIP() << "this process may use userfaultfd for faults of user mode only";
  close(fd);
  constexpr uint64_t kSwaps = 100, kPages = 16;
  const Region region(kSwaps * kPages);
  std::atomic<uint64_t> current{0};
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> done{0};
  const int source = open("/dev/zero", O_RDONLY | O_CLOEXEC);
  bool failed = false;
  std::thread reader([&] {
    for (; !stop; ++done)
      failed |= read(source, region.memory + current * kPages * kPage, kPages * kPage) != kPages * kPage;
  });
  for (uint64_t i = 0; i < kSwaps; ++i) {
    current = i;
    for (const uint64_t start = done; done < start + 2;) std::this_thread::yield();
    EXPECT_TRUE(swap_.Swap(region.address() + i * kPages * kPage, kPages * kPage, kReadWrite, file_));
  }
  stop = true;
  reader.join();
  close(source);
  EXPECT_FALSE(failed);
}

}  // namespace
}  // namespace nvshim::preload
