#include "preload/pool.h"

#include <algorithm>
#include <memory>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
// rapidcheck/gtest.h needs gtest.h before it.
#include "rapidcheck/gtest.h"

namespace nvshim::preload {
namespace {

struct Run {
  uint32_t offset, size_bytes;
};

bool Overlap(const Run& a, const Run& b) {
  return a.offset < b.offset + b.size_bytes && b.offset < a.offset + a.size_bytes;
}

RC_GTEST_PROP(PoolTest, RunsAreInsideAndNeverOverlap, ()) {
  const auto pool = std::make_unique<Pool>();
  std::vector<Run> held;
  uint64_t held_bytes = 0;
  for (int step = 0; step < 60; ++step) {
    const auto size_bytes = *rc::gen::inRange<uint32_t>(1, 300'000);
    // Only while there is surely a run: Allocate waits for others to free when there is none.
    if (held.size() < 3 && held_bytes + size_bytes < wire::kPoolSizeBytes / 3) {
      const Run run = {pool->Allocate(size_bytes), size_bytes};
      RC_ASSERT(run.offset != Pool::kNoRoom);
      RC_ASSERT(run.offset % wire::kPageSizeBytes == 0);
      RC_ASSERT(run.offset + size_bytes <= wire::kPoolSizeBytes);
      RC_ASSERT(
          std::none_of(held.begin(), held.end(), [&](const Run& other) { return Overlap(run, other); }));
      held.push_back(run);
      held_bytes += size_bytes;
    } else if (!held.empty()) {
      const auto at = held.begin() + *rc::gen::inRange<ptrdiff_t>(0, static_cast<ptrdiff_t>(held.size()));
      pool->Free(at->offset, at->size_bytes);
      held_bytes -= at->size_bytes;
      held.erase(at);
    }
  }
  for (const Run& run : held) pool->Free(run.offset, run.size_bytes);
  RC_ASSERT(pool->Allocate(wire::kPoolSizeBytes) == 0u);
}

TEST(PoolTest, MoreThanThePoolIsRefusedAtOnce) {
  const auto pool = std::make_unique<Pool>();
  EXPECT_EQ(pool->Allocate(wire::kPoolSizeBytes + 1), Pool::kNoRoom);
  EXPECT_EQ(pool->Allocate(0xffffffff), Pool::kNoRoom);
}

TEST(PoolTest, ACallWaitsUntilAnotherGivesItsRoomBack) {
  const auto pool = std::make_unique<Pool>();
  const uint32_t whole = pool->Allocate(wire::kPoolSizeBytes);
  ASSERT_EQ(whole, 0u);
  uint32_t second = Pool::kNoRoom;
  std::thread waiter([&] { second = pool->Allocate(5000); });
  pool->Free(whole, wire::kPoolSizeBytes);
  waiter.join();
  EXPECT_NE(second, Pool::kNoRoom);
}

TEST(PoolTest, ThreadsNeverHoldTheSameBytes) {
  const auto pool = std::make_unique<Pool>();
  std::vector<uint8_t> bytes(wire::kPoolSizeBytes);
  std::atomic<int> clashes{0};
  std::vector<std::thread> threads;
  for (int id = 1; id <= 6; ++id) {
    threads.emplace_back([&, id] {
      for (int round = 0; round < 200; ++round) {
        const uint32_t size_bytes = static_cast<uint32_t>(id) * 100'000;
        const uint32_t offset = pool->Allocate(size_bytes);
        uint8_t* const run = bytes.data() + offset;
        std::fill_n(run, size_bytes, static_cast<uint8_t>(id));
        if (std::any_of(run, run + size_bytes, [&](uint8_t byte) { return byte != id; })) ++clashes;
        pool->Free(offset, size_bytes);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(clashes, 0);
}

}  // namespace
}  // namespace nvshim::preload
