// A channel from its allocation to the copy it makes, through the driver's four methods and the files it
// hands out, as a client would.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

#include "broker/driver/sim/sim_driver.h"
#include "broker/driver/sim/sim_test_calls.h"

namespace nvshim::broker::sim {
namespace {

constexpr uint32_t kSystemMemory = 1u << 25;  // NVOS32_ATTR_LOCATION_PCI
constexpr uint32_t kVaSpace = 0x5c000010, kMemory = 0x5c000011, kGroup = 0x5c000012, kChannel = 0x5c000013;
constexpr uint64_t kBase = 0x2'0040'0000, kSize = 1 << 20;
// Offsets in the memory.
constexpr uint64_t kNotifier = 0x0, kUserd = 0x400, kFifo = 0x1000, kPushbuffer = 0x2000, kSource = 0x10000,
                   kTarget = 0x20000, kSemaphore = 0x30000;
constexpr uint32_t UVM_INITIALIZE = 0x30000001, UVM_REGISTER_GPU_VASPACE = 25,
                   UVM_MAP_EXTERNAL_ALLOCATION = 33, UVM_FREE = 34, UVM_REGISTER_GPU = 37,
                   UVM_CREATE_EXTERNAL_RANGE = 73;

// A guest's doorbell pages; what happens when they are asked to be armed is up to the test.
class FakeDoorbell final : public Doorbell {
 public:
  explicit FakeDoorbell(std::function<bool()> arm) : arm_(std::move(arm)) {}
  void Arm() override { armed_ = arm_(); }
  bool armed() override { return armed_; }
  void Disarm() { armed_ = false; }

 private:
  const std::function<bool()> arm_;
  std::atomic<bool> armed_ = false;
};

class ChannelsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    SimOptions options;
    options.log_fault = [this](std::string_view text) {
      const std::lock_guard lock(mutex_);
      fault_ = text;
      changed_.notify_all();
    };
    auto driver = CreateSimDriver(options);
    ASSERT_TRUE(driver.ok());
    driver_ = std::move(driver).value();
    guest_ = std::make_unique<TestGuest>(*driver_);
    guest_->MakeDevice();
    MakeMemory();
    MakeAddressSpace();
  }
  void TearDown() override {
    driver_.reset();
    if (memory_ != nullptr) munmap(memory_, kSize);
  }

  void MakeMemory() {
    ASSERT_EQ(guest_->AllocSize(kMemory, kSize, kSystemMemory), NV_OK);
    const DriverFileId file = driver_->Open({DeviceClass::kCtl, 0}, 0).file;
    uint64_t key = 0;
    ASSERT_EQ(guest_->MapMemory(kMemory, kSize, file, &key), NV_OK);
    const MapResult mapped = driver_->Map(file);
    ASSERT_EQ(mapped.error, 0);
    memory_ = static_cast<uint8_t*>(mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_SHARED, mapped.fd, 0));
    close(mapped.fd);
    driver_->Close(file);
    ASSERT_NE(memory_, MAP_FAILED);
  }

  uint32_t Uvm(uint32_t command, Buffer bytes, size_t status_offset) {
    EXPECT_EQ(RunCall(*driver_, uvm_, command, bytes), 0);
    return Get<uint32_t>(bytes, status_offset);
  }

  void MakeAddressSpace() {
    Buffer params(48);
    uint32_t handle = kVaSpace;
    ASSERT_EQ(guest_->Alloc(TestGuest::kDevice, &handle, 0x90f1, &params), NV_OK);
    uvm_ = driver_->Open({DeviceClass::kUvm, 0}, 0).file;
    Buffer initialize(16);
    ASSERT_EQ(Uvm(UVM_INITIALIZE, initialize, 8), NV_OK);
    Buffer gid(268);
    Put<uint32_t>(gid, 4, 2);  // as bytes
    ASSERT_EQ(guest_->Control(TestGuest::kSubdevice, 0x2080014a, gid), NV_OK);
    uuid_.assign(gid.begin() + 12, gid.begin() + 28);
    ASSERT_EQ(Uvm(UVM_REGISTER_GPU, WithUuid(40, 0), 36), NV_OK);
    Buffer vaspace = WithUuid(32, 0);
    Put<uint32_t>(vaspace, 20, guest_->client);
    Put<uint32_t>(vaspace, 24, kVaSpace);
    ASSERT_EQ(Uvm(UVM_REGISTER_GPU_VASPACE, vaspace, 28), NV_OK);
    Buffer range(24);
    Put<uint64_t>(range, 0, kBase);
    Put<uint64_t>(range, 8, kSize);
    ASSERT_EQ(Uvm(UVM_CREATE_EXTERNAL_RANGE, range, 16), NV_OK);
    Buffer map = WithUuid(1200, 24);
    Put<uint64_t>(map, 0, kBase);
    Put<uint64_t>(map, 8, kSize);
    Put<uint64_t>(map, 1176, 1);
    Put<uint32_t>(map, 1188, guest_->client);
    Put<uint32_t>(map, 1192, kMemory);
    ASSERT_EQ(Uvm(UVM_MAP_EXTERNAL_ALLOCATION, map, 1196), NV_OK);
  }
  Buffer WithUuid(size_t size, size_t offset) {
    Buffer bytes(size);
    std::copy(uuid_.begin(), uuid_.end(), bytes.begin() + static_cast<ptrdiff_t>(offset));
    return bytes;
  }

  uint32_t MakeChannel(uint64_t userd_offset = kUserd, uint32_t entries = 8, uint32_t channel = kChannel,
                       uint64_t notifier_offset = kNotifier) {
    Buffer group(20);
    Put<uint32_t>(group, 8, kVaSpace);
    uint32_t handle = kGroup;
    guest_->Alloc(TestGuest::kDevice, &handle, 0xa06c, &group);
    Buffer params(360);
    Put<uint64_t>(params, 8, kBase + kFifo);
    Put<uint32_t>(params, 16, entries);
    Put<uint32_t>(params, 0, kMemory);  // hObjectError
    Put<uint32_t>(params, 32, kMemory);
    Put<uint64_t>(params, 64, userd_offset);
    handle = kChannel;
    return guest_->Alloc(kGroup, &handle, 0xc56f, &params);
  }

  void Submit(const std::vector<uint32_t>& words) {
    std::memcpy(memory_ + kPushbuffer, words.data(), words.size() * 4);
    const uint64_t entry = (kBase + kPushbuffer) | uint64_t{words.size()} << 42;
    std::memcpy(memory_ + kFifo, &entry, 8);
    __atomic_store_n(reinterpret_cast<uint32_t*>(memory_ + kUserd + 0x8c), 1, __ATOMIC_RELEASE);
  }
  bool AwaitWord(uint64_t offset, uint32_t value) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (__atomic_load_n(reinterpret_cast<uint32_t*>(memory_ + offset), __ATOMIC_ACQUIRE) != value) {
      if (std::chrono::steady_clock::now() > deadline) return false;
      std::this_thread::yield();
    }
    return true;
  }
  bool AwaitSleep() {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (!driver_->engine_asleep()) {
      if (std::chrono::steady_clock::now() > deadline) return false;
      std::this_thread::yield();
    }
    return true;
  }
  std::string AwaitFault() {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, std::chrono::seconds(30), [this] { return !fault_.empty(); });
    return fault_;
  }
  static uint32_t Header(uint32_t subchannel, uint32_t method, uint32_t count) {
    return 1u << 29 | count << 16 | subchannel << 13 | method / 4;
  }
  static std::vector<uint32_t> CopyMethods(uint64_t from, uint64_t to) {
    return {Header(4, 0, 1),
            0xc6b5,
            Header(4, 0x400, 4),
            static_cast<uint32_t>(from >> 32),
            static_cast<uint32_t>(from),
            static_cast<uint32_t>(to >> 32),
            static_cast<uint32_t>(to),
            Header(4, 0x418, 2),
            5000,
            1,
            Header(4, 0x240, 3),
            static_cast<uint32_t>(kBase >> 32),
            static_cast<uint32_t>(kBase + kSemaphore),
            0x1234,
            Header(4, 0x300, 1),
            0x18a};
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::string fault_;
  std::unique_ptr<SimDriver> driver_;
  std::unique_ptr<TestGuest> guest_;
  DriverFileId uvm_ = 0;
  Buffer uuid_;
  uint8_t* memory_ = nullptr;
};

TEST_F(ChannelsTest, ACopyQueuedThroughMappedMemoryIsMade) {
  ASSERT_EQ(MakeChannel(), NV_OK);
  for (int i = 0; i < 5000; ++i) memory_[kSource + i] = static_cast<uint8_t>(i * 13);
  Submit(CopyMethods(kBase + kSource, kBase + kTarget));
  ASSERT_TRUE(AwaitWord(kSemaphore, 0x1234));
  EXPECT_EQ(std::memcmp(memory_ + kSource, memory_ + kTarget, 5000), 0);
  EXPECT_TRUE(AwaitWord(kUserd + 0x88, 1)) << "GP_GET follows";
}

TEST_F(ChannelsTest, ACopyFromNowhereStopsTheChannelAndIsTold) {
  ASSERT_EQ(MakeChannel(), NV_OK);
  Submit(CopyMethods(kBase + kSize, kBase + kTarget));
  EXPECT_NE(AwaitFault().find("not mapped"), std::string::npos);
  EXPECT_EQ(memory_[kSemaphore], 0);
}

TEST_F(ChannelsTest, AnErrorIsWrittenWhereTheClientLooks) {
  ASSERT_EQ(MakeChannel(), NV_OK);
  Submit(CopyMethods(kBase + kSize, kBase + kTarget));
  ASSERT_TRUE(AwaitWord(kNotifier + 12, 0xffff0000));
  uint32_t info32;
  std::memcpy(&info32, memory_ + kNotifier + 8, sizeof(info32));
  EXPECT_EQ(info32, 31u) << "ROBUST_CHANNEL_FIFO_ERROR_MMU_ERR_FLT";
}

TEST_F(ChannelsTest, WhatUvmFreedTheChannelNoLongerSees) {
  Buffer free(24);
  Put<uint64_t>(free, 0, kBase);
  ASSERT_EQ(Uvm(UVM_FREE, free, 16), NV_OK);
  ASSERT_EQ(MakeChannel(), NV_OK);
  Submit(CopyMethods(kBase + kSource, kBase + kTarget));
  EXPECT_NE(AwaitFault().find("not mapped"), std::string::npos);
}

TEST_F(ChannelsTest, AClosedUvmFileTakesItsMappingsWithIt) {
  driver_->Close(uvm_);
  ASSERT_EQ(MakeChannel(), NV_OK);
  Submit(CopyMethods(kBase + kSource, kBase + kTarget));
  EXPECT_NE(AwaitFault().find("not mapped"), std::string::npos);
}

TEST_F(ChannelsTest, AnEngineWhoseDoorbellsAreArmedSleepsUntilOneRings) {
  FakeDoorbell doorbell([] { return true; });
  driver_->AddDoorbell(&doorbell);
  ASSERT_EQ(MakeChannel(), NV_OK);
  ASSERT_TRUE(AwaitSleep());
  Submit(CopyMethods(kBase + kSource, kBase + kTarget));
  EXPECT_TRUE(driver_->engine_asleep()) << "nothing but the doorbell tells";
  EXPECT_EQ(memory_[kSemaphore], 0);
  doorbell.Disarm();
  driver_->Ring();
  EXPECT_TRUE(AwaitWord(kSemaphore, 0x1234));
  driver_->RemoveDoorbell(&doorbell);
}

TEST_F(ChannelsTest, WorkThatCameBeforeADoorbellWasArmedIsFoundWithoutARing) {
  FakeDoorbell doorbell([this] {
    Submit(CopyMethods(kBase + kSource, kBase + kTarget));
    return true;
  });
  driver_->AddDoorbell(&doorbell);
  ASSERT_EQ(MakeChannel(), NV_OK);
  EXPECT_TRUE(AwaitWord(kSemaphore, 0x1234));
  driver_->RemoveDoorbell(&doorbell);
}

TEST_F(ChannelsTest, OneDoorbellThatCannotBeArmedKeepsTheEngineLooking) {
  FakeDoorbell armed([] { return true; }), deaf([] { return false; });
  driver_->AddDoorbell(&armed);
  driver_->AddDoorbell(&deaf);
  ASSERT_EQ(MakeChannel(), NV_OK);
  Submit(CopyMethods(kBase + kSource, kBase + kTarget));
  EXPECT_TRUE(AwaitWord(kSemaphore, 0x1234));
  EXPECT_FALSE(driver_->engine_asleep());
  driver_->RemoveDoorbell(&deaf);
  EXPECT_TRUE(AwaitSleep());
  driver_->RemoveDoorbell(&armed);
}

TEST_F(ChannelsTest, AChannelThatWaitsForASemaphoreKeepsTheEngineLooking) {
  FakeDoorbell doorbell([] { return true; });
  driver_->AddDoorbell(&doorbell);
  ASSERT_EQ(MakeChannel(), NV_OK);
  constexpr uint64_t kBegun = kSemaphore + 0x80, kGate = kSemaphore + 0x100;
  const auto semaphore = [](uint64_t at, uint32_t payload, uint32_t execute) {
    return std::vector<uint32_t>{Header(0, 0x5c, 5),
                                 static_cast<uint32_t>(kBase + at),
                                 static_cast<uint32_t>(kBase >> 32),
                                 payload,
                                 0,
                                 execute};
  };
  std::vector<uint32_t> words = semaphore(kBegun, 1, 1);
  for (uint32_t word : semaphore(kGate, 7, 0)) words.push_back(word);
  for (uint32_t word : CopyMethods(kBase + kSource, kBase + kTarget)) words.push_back(word);
  Submit(words);
  driver_->Ring();
  ASSERT_TRUE(AwaitWord(kBegun, 1));
  __atomic_store_n(reinterpret_cast<uint32_t*>(memory_ + kGate), 7, __ATOMIC_RELEASE);
  EXPECT_TRUE(AwaitWord(kSemaphore, 0x1234)) << "no doorbell says that the gate is open";
  driver_->RemoveDoorbell(&doorbell);
}

TEST_F(ChannelsTest, ARingWithoutEntriesAndUserdOutsideItsMemoryAreRefused) {
  EXPECT_EQ(MakeChannel(kUserd, 0), NV_ERR_INVALID_ARGUMENT);
  EXPECT_EQ(MakeChannel(kSize - 0x80), NV_ERR_INVALID_ARGUMENT);
  EXPECT_EQ(MakeChannel(~uint64_t{0} & ~uint64_t{3}), NV_ERR_INVALID_ARGUMENT);
  EXPECT_EQ(MakeChannel(2), NV_ERR_INVALID_ARGUMENT);
}

TEST_F(ChannelsTest, AFreedChannelExecutesNothing) {
  ASSERT_EQ(MakeChannel(), NV_OK);
  ASSERT_EQ(guest_->Free(kChannel), NV_OK);
  Submit(CopyMethods(kBase + kSource, kBase + kTarget));
  // Another channel of the same memory but another ring proves that the engine ran.
  ASSERT_EQ(MakeChannel(kUserd + 0x200), NV_OK);
  const uint32_t out_of_range = 8;
  std::memcpy(memory_ + kUserd + 0x200 + 0x8c, &out_of_range, 4);
  EXPECT_NE(AwaitFault().find("malformed"), std::string::npos);
  EXPECT_EQ(memory_[kSemaphore], 0);
}

}  // namespace
}  // namespace nvshim::broker::sim
