#include "broker/driver/sim/address_space.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

#include "broker/driver/sim/limits.h"

namespace nvshim::broker::sim {
namespace {

constexpr uint64_t kPage = 4096;

std::shared_ptr<Memory> MakeMemory(uint64_t size_bytes, MemoryType type = MemoryType::kSystem) {
  auto memory = std::make_shared<Memory>();
  memory->type = type;
  memory->size_bytes = size_bytes;
  return memory;
}

TEST(AddressSpaceTest, BytesAreThoseOfTheMemoryAtItsOffset) {
  BackingCount count;
  AddressSpace space(count);
  const auto memory = MakeMemory(4 * kPage);
  ASSERT_EQ(space.Map(0x1'0000'0000, 2 * kPage, memory, kPage), NV_OK);
  const auto bytes = space.Resolve(0x1'0000'0010, 100 * kPage);
  ASSERT_EQ(bytes.size(), 2 * kPage - 0x10) << "as far as the mapping reaches";
  bytes[0] = 42;
  EXPECT_EQ(memory->Bytes(count)[kPage + 0x10], 42);
  EXPECT_TRUE(space.Resolve(0x1'0000'0000 + 2 * kPage, 1).empty());
  EXPECT_TRUE(space.Resolve(0xffff'ffff, 1).empty());
}

TEST(AddressSpaceTest, AMappingKeepsItsMemoryAliveAndNothingElseDoes) {
  BackingCount count;
  AddressSpace space(count);
  auto memory = MakeMemory(kPage);
  const std::weak_ptr<Memory> watched = memory;
  ASSERT_EQ(space.Map(kPage, kPage, std::move(memory), 0), NV_OK);
  space.Resolve(kPage, 1);
  EXPECT_EQ(count.alive, 1u);
  EXPECT_EQ(count.windows, 1u);
  space.Unmap(0, 100 * kPage);
  EXPECT_TRUE(watched.expired());
  EXPECT_EQ(count.alive, 0u);
  EXPECT_EQ(count.windows, 0u);
}

TEST(AddressSpaceTest, NothingOutsideTheMemoryCanBeMapped) {
  BackingCount count;
  AddressSpace space(count);
  const auto memory = MakeMemory(4 * kPage);
  EXPECT_EQ(space.Map(0, 5 * kPage, memory, 0), NV_ERR_INVALID_LIMIT);
  EXPECT_EQ(space.Map(0, kPage, memory, 4 * kPage), NV_ERR_INVALID_LIMIT);
  EXPECT_EQ(space.Map(0, kPage, memory, ~uint64_t{0}), NV_ERR_INVALID_LIMIT);
  EXPECT_EQ(space.Map(~uint64_t{0}, kPage, memory, 0), NV_ERR_INVALID_ADDRESS);
  EXPECT_EQ(space.Map(0, 0, memory, 0), NV_ERR_INVALID_ADDRESS);
}

TEST(AddressSpaceTest, MemoryWithoutBytesResolvesToNothing) {
  BackingCount count;
  AddressSpace space(count);
  for (MemoryType type : {MemoryType::kVirtual, MemoryType::kRegisters, MemoryType::kHost}) {
    ASSERT_EQ(space.Map(0, kPage, MakeMemory(kPage, type), 0), NV_OK);
    EXPECT_TRUE(space.Resolve(0, 1).empty());
  }
  EXPECT_EQ(count.alive, 0u);
}

// Against a table of single pages.
TEST(AddressSpaceTest, AnyHistoryOfMapAndUnmapGivesWhatATableOfPagesGives) {
  constexpr uint64_t kPages = 64;
  std::mt19937 random(7);
  BackingCount count;
  AddressSpace space(count);
  std::map<uint64_t, uint8_t*> model;
  std::vector<std::shared_ptr<Memory>> memories;
  for (int i = 0; i < 4; ++i) memories.push_back(MakeMemory(kPages * kPage));
  for (int step = 0; step < 3000; ++step) {
    const uint64_t first = random() % kPages, length = 1 + random() % (kPages - first);
    if (random() % 3 == 0) {
      space.Unmap(first * kPage, length * kPage);
      for (uint64_t page = first; page < first + length; ++page) model.erase(page);
    } else {
      const auto& memory = memories[random() % memories.size()];
      const uint64_t offset = random() % (kPages - length + 1);
      ASSERT_EQ(space.Map(first * kPage, length * kPage, memory, offset * kPage), NV_OK);
      for (uint64_t page = 0; page < length; ++page)
        model[first + page] = memory->Bytes(count).data() + (offset + page) * kPage;
    }
    for (uint64_t page = 0; page < kPages; ++page) {
      const auto bytes = space.Resolve(page * kPage, 1);
      const auto expected = model.find(page);
      ASSERT_EQ(bytes.empty() ? nullptr : bytes.data(), expected == model.end() ? nullptr : expected->second);
    }
  }
}

}  // namespace
}  // namespace nvshim::broker::sim
