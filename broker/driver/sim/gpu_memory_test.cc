// What the engine sees at GPU addresses: memory mapped by RM, virtual memory, managed memory.
#include "broker/driver/sim/channels_test_fixture.h"

namespace nvshim::broker::sim {
namespace {

TEST_F(ChannelsTest, MemoryMappedByRmIsSeenUntilItIsUnmappedOrFreed) {
  constexpr uint32_t kVirtual = 0x5c000020, kMapped = 0x5c000021;
  constexpr uint64_t kVirtualBase = 0x3'0000'0000;
  const auto make_memory = [this](uint32_t handle) {
    ASSERT_EQ(guest_->AllocSize(handle, kSize, kSystemMemory), NV_OK);
  };
  Buffer range(24);
  Put<uint64_t>(range, 0, kVirtualBase);
  Put<uint64_t>(range, 8, kVirtualBase + (64 << 20) - 1);
  Put<uint32_t>(range, 16, kVaSpace);
  uint32_t handle = kVirtual;
  ASSERT_EQ(guest_->Alloc(TestGuest::kDevice, &handle, NV01_MEMORY_VIRTUAL, &range), NV_OK);
  make_memory(kMapped);
  uint64_t first = 0, second = 0;
  ASSERT_EQ(MapDma(kVirtual, kMapped, &first), NV_OK);
  ASSERT_EQ(MapDma(kVirtual, kMapped, &second), NV_OK);
  EXPECT_GE(first, kVirtualBase);
  EXPECT_GE(second, first + kSize) << "no two mappings overlap";
  ASSERT_EQ(MakeChannel(), NV_OK);
  Submit(CopyMethods(first, second));
  ASSERT_TRUE(AwaitWord(kSemaphore, 0x1234));
  EXPECT_EQ(UnmapDma(kVirtual, kMapped, first), NV_OK);
  EXPECT_EQ(UnmapDma(kVirtual, kMapped, first), NV_ERR_OBJECT_NOT_FOUND);
  ASSERT_EQ(guest_->Free(kMapped), NV_OK);
  EXPECT_EQ(UnmapDma(kVirtual, kMapped, second), NV_ERR_OBJECT_NOT_FOUND);
  ASSERT_EQ(MakeChannel({.userd_offset = kUserd + 0x200, .handle = kChannel + 1, .group = kChannel + 2}),
            NV_OK);
  Submit(CopyMethods(second, second), kUserd + 0x200);
  EXPECT_NE(AwaitFault().find("not mapped"), std::string::npos);
}

TEST_F(ChannelsTest, VirtualMemoryGetsAddressesThatNobodyHas) {
  constexpr uint32_t kFirst = 0x5c000030;
  std::set<uint64_t> bases;
  for (uint32_t i = 0; i < 8; ++i) {
    Buffer params(120);
    Put<uint32_t>(params, 8, NVOS32_ALLOC_FLAGS_VIRTUAL);
    Put<uint64_t>(params, 64, 3 << 20);
    Put<uint32_t>(params, 108, kVaSpace);
    uint32_t handle = kFirst + i;
    ASSERT_EQ(guest_->Alloc(TestGuest::kDevice, &handle, NV50_MEMORY_VIRTUAL, &params), NV_OK);
    bases.insert(Get<uint64_t>(params, 80));
  }
  ASSERT_EQ(bases.size(), 8u);
  for (auto it = bases.begin(); std::next(it) != bases.end(); ++it) EXPECT_GE(*std::next(it) - *it, 3u << 20);
  ASSERT_EQ(guest_->Free(kFirst), NV_OK);
  Buffer fixed(120);
  Put<uint32_t>(fixed, 8, NVOS32_ALLOC_FLAGS_VIRTUAL | NVOS32_ALLOC_FLAGS_FIXED_ADDRESS_ALLOCATE);
  Put<uint64_t>(fixed, 64, 3 << 20);
  Put<uint64_t>(fixed, 80, *bases.begin());
  Put<uint32_t>(fixed, 108, kVaSpace);
  uint32_t handle = kFirst;
  EXPECT_EQ(guest_->Alloc(TestGuest::kDevice, &handle, NV50_MEMORY_VIRTUAL, &fixed), NV_OK);
  handle = kFirst + 100;
  EXPECT_EQ(guest_->Alloc(TestGuest::kDevice, &handle, NV50_MEMORY_VIRTUAL, &fixed), NV_ERR_NO_MEMORY);
}

TEST_F(ChannelsTest, ManagedMemoryIsOneForProcessorAndGpu) {
  constexpr uint64_t kManaged = 0x7f00'0000'0000;
  Buffer range(24);
  Put<uint64_t>(range, 0, kManaged);
  Put<uint64_t>(range, 8, kSize);
  ASSERT_EQ(Uvm(UVM_VALIDATE_VA_RANGE, range, 16), NV_OK);
  const MapResult file = driver_->Map(uvm_);
  ASSERT_EQ(file.error, 0);
  auto* managed = static_cast<uint8_t*>(
      mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_SHARED, file.fd, static_cast<off_t>(kManaged)));
  close(file.fd);
  ASSERT_NE(managed, MAP_FAILED);
  std::memset(memory_ + kSource, 0x5a, 5000);
  ASSERT_EQ(MakeChannel(), NV_OK);
  Submit(CopyMethods(kBase + kSource, kManaged + 0x1001));
  ASSERT_TRUE(AwaitWord(kSemaphore, 0x1234));
  EXPECT_EQ(managed[0x1000], 0);
  EXPECT_EQ(std::memcmp(managed + 0x1001, memory_ + kSource, 5000), 0);
  ASSERT_EQ(Uvm(UVM_FREE, range, 16), NV_OK);
  EXPECT_EQ(managed[0x1001], 0) << "what was freed is empty for whoever comes next";
  munmap(managed, kSize);
}

TEST_F(ChannelsTest, APrefetchTellsThatItIsDone) {
  constexpr uint64_t kPool = 0x2'8000'0000, kManaged = 0x7f00'0000'0000;
  Buffer pool(1184), range(24);
  Put<uint64_t>(pool, 0, kPool);
  Put<uint64_t>(pool, 8, kSize);
  ASSERT_EQ(Uvm(UVM_ALLOC_SEMAPHORE_POOL, pool, 1176), NV_OK);
  Put<uint64_t>(range, 0, kManaged);
  Put<uint64_t>(range, 8, kSize);
  ASSERT_EQ(Uvm(UVM_VALIDATE_VA_RANGE, range, 16), NV_OK);
  const MapResult file = driver_->Map(uvm_);
  auto* words =
      static_cast<uint32_t*>(mmap(nullptr, kSize, PROT_READ, MAP_SHARED, file.fd, static_cast<off_t>(kPool)));
  close(file.fd);
  ASSERT_NE(words, MAP_FAILED);
  Buffer migrate(80);
  Put<uint64_t>(migrate, 0, kManaged);
  Put<uint64_t>(migrate, 8, kSize);
  Put<uint32_t>(migrate, 32, 1);  // UVM_MIGRATE_FLAG_ASYNC
  Put<uint64_t>(migrate, 40, kPool + 8);
  Put<uint32_t>(migrate, 48, 77);
  EXPECT_EQ(Uvm(UVM_MIGRATE, migrate, 72), NV_OK);
  EXPECT_EQ(words[2], 77u);
  Put<uint64_t>(migrate, 40, kManaged);
  EXPECT_EQ(Uvm(UVM_MIGRATE, migrate, 72), NV_ERR_INVALID_ADDRESS) << "only pools hold semaphores";
  munmap(words, kSize);
}

}  // namespace
}  // namespace nvshim::broker::sim
