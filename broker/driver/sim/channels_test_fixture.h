// A channel with all it needs, made through the driver's methods and the files it hands out, as a client
// would.
#ifndef BROKER_DRIVER_SIM_CHANNELS_TEST_FIXTURE_H_
#define BROKER_DRIVER_SIM_CHANNELS_TEST_FIXTURE_H_

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <functional>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <utility>

#include "broker/driver/sim/sim_driver.h"
#include "broker/driver/sim/sim_test_calls.h"

namespace nvshim::broker::sim {

inline constexpr uint32_t kSystemMemory = 1u << 25;  // NVOS32_ATTR_LOCATION_PCI
inline constexpr uint32_t kVaSpace = 0x5c000010, kMemory = 0x5c000011, kGroup = 0x5c000012,
                          kChannel = 0x5c000013;
inline constexpr uint64_t kBase = 0x2'0040'0000, kSize = 1 << 20;
inline constexpr uint32_t kEvent = 0x5c000100;             // and further ones
inline constexpr uint32_t kNonBlockingInterrupt = 2 << 5;  // LAUNCH_DMA
// Offsets in the memory.
inline constexpr uint64_t kNotifier = 0x0, kUserd = 0x400, kFifo = 0x1000, kPushbuffer = 0x2000,
                          kSource = 0x10000, kTarget = 0x20000, kSemaphore = 0x30000;
inline constexpr uint32_t UVM_INITIALIZE = 0x30000001, UVM_REGISTER_GPU_VASPACE = 25,
                          UVM_MAP_EXTERNAL_ALLOCATION = 33, UVM_FREE = 34, UVM_REGISTER_GPU = 37,
                          UVM_MIGRATE = 51, UVM_ALLOC_SEMAPHORE_POOL = 68, UVM_VALIDATE_VA_RANGE = 72,
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

struct ChannelArguments {
  uint64_t userd_offset = kUserd;
  uint32_t entries = 8;
  uint32_t engine_type = 0;
  uint32_t handle = kChannel;
  uint32_t group = kGroup;
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

  uint32_t MakeChannel(const ChannelArguments& arguments = {}) {
    Buffer group(20);
    Put<uint32_t>(group, 8, kVaSpace);
    Put<uint32_t>(group, 12, arguments.engine_type);
    uint32_t handle = arguments.group;
    guest_->Alloc(TestGuest::kDevice, &handle, 0xa06c, &group);  // the second time it is there already
    Buffer params(360);
    Put<uint64_t>(params, 8, kBase + kFifo);
    Put<uint32_t>(params, 16, arguments.entries);
    Put<uint32_t>(params, 0, kMemory);  // hObjectError
    Put<uint32_t>(params, 32, kMemory);
    Put<uint64_t>(params, 64, arguments.userd_offset);
    handle = arguments.handle;
    return guest_->Alloc(arguments.group, &handle, 0xc56f, &params);
  }

  // All channels have one ring, of which each executes the first entry when its USERD says so.
  void Submit(const std::vector<uint32_t>& words, uint64_t userd_offset = kUserd) {
    std::memcpy(memory_ + kPushbuffer, words.data(), words.size() * 4);
    const uint64_t entry = (kBase + kPushbuffer) | uint64_t{words.size()} << 42;
    std::memcpy(memory_ + kFifo, &entry, 8);
    __atomic_store_n(reinterpret_cast<uint32_t*>(memory_ + userd_offset + 0x8c), 1, __ATOMIC_RELEASE);
  }
  // True when `condition` has become so; false after a time that no working engine takes.
  template <typename Condition>
  static bool Await(Condition condition) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (!condition()) {
      if (std::chrono::steady_clock::now() > deadline) return false;
      std::this_thread::yield();
    }
    return true;
  }
  bool AwaitWord(uint64_t offset, uint32_t value) {
    return Await([&] { return HasWord(offset, value); });
  }
  bool AwaitSleep() {
    return Await([this] { return driver_->engine_asleep(); });
  }
  bool HasWord(uint64_t offset, uint32_t value) {
    return __atomic_load_n(reinterpret_cast<uint32_t*>(memory_ + offset), __ATOMIC_ACQUIRE) == value;
  }
  std::string AwaitFault() {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, std::chrono::seconds(30), [this] { return !fault_.empty(); });
    return std::exchange(fault_, {});
  }
  uint32_t MapDma(uint32_t virtual_memory, uint32_t memory, uint64_t* address) {
    Buffer bytes(56);
    Put<uint32_t>(bytes, 0, guest_->client);
    Put<uint32_t>(bytes, 4, TestGuest::kDevice);
    Put<uint32_t>(bytes, 8, virtual_memory);
    Put<uint32_t>(bytes, 12, memory);
    Put<uint64_t>(bytes, 24, kSize);
    EXPECT_EQ(RunEscapeNumber(*driver_, guest_->ctl, NV_ESC_RM_MAP_MEMORY_DMA, bytes), 0);
    *address = Get<uint64_t>(bytes, 40);
    return Get<uint32_t>(bytes, 48);
  }
  uint32_t UnmapDma(uint32_t virtual_memory, uint32_t memory, uint64_t address) {
    Buffer bytes(40);
    Put<uint32_t>(bytes, 0, guest_->client);
    Put<uint32_t>(bytes, 4, TestGuest::kDevice);
    Put<uint32_t>(bytes, 8, virtual_memory);
    Put<uint32_t>(bytes, 12, memory);
    Put<uint64_t>(bytes, 24, address);
    EXPECT_EQ(RunEscapeNumber(*driver_, guest_->ctl, NV_ESC_RM_UNMAP_MEMORY_DMA, bytes), 0);
    return Get<uint32_t>(bytes, 32);
  }
  // A file that listens for what `notify_index` says of the object `parent`. Its number is its event's too.
  DriverFileId MakeEventFile(uint32_t notify_index, uint32_t parent = TestGuest::kSubdevice) {
    const DriverFileId file = driver_->Open({DeviceClass::kGpu, 0}, 0).file;
    Buffer register_fd(4);
    EXPECT_EQ(RunEscapeNumber(*driver_, file, NV_ESC_REGISTER_FD, register_fd, {}, {{0, 0, guest_->ctl}}), 0);
    EXPECT_EQ(OsEvent(NV_ESC_ALLOC_OS_EVENT, file), NV_OK);
    Buffer params(24);
    Put<uint32_t>(params, 12, notify_index);
    Put<uint64_t>(params, 16, file);
    uint32_t handle = kEvent + file;
    EXPECT_EQ(guest_->Alloc(parent, &handle, NV01_EVENT_OS_EVENT, &params, file), NV_OK);
    return file;
  }
  uint32_t OsEvent(uint32_t escape, DriverFileId file) {
    Buffer bytes(16);
    Put<uint32_t>(bytes, 0, guest_->client);
    Put<uint32_t>(bytes, 8, file);
    EXPECT_EQ(RunEscapeNumber(*driver_, file, escape, bytes), 0);
    return Get<uint32_t>(bytes, 12);
  }
  // The files that were signalled, from the first to `last`.
  std::set<DriverFileId> AwaitSignals(DriverFileId last) {
    std::vector<DriverFileId> files;
    pollfd signals{driver_->signal_fd(), POLLIN, 0};
    while (std::find(files.begin(), files.end(), last) == files.end() && poll(&signals, 1, 30'000) == 1)
      driver_->TakeSignals(&files);
    return {files.begin(), files.end()};
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
  // The same, with an interrupt at the end.
  static std::vector<uint32_t> InterruptingCopyMethods() {
    std::vector<uint32_t> words = CopyMethods(kBase + kSource, kBase + kTarget);
    words.back() |= kNonBlockingInterrupt;
    return words;
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

}  // namespace nvshim::broker::sim

#endif  // BROKER_DRIVER_SIM_CHANNELS_TEST_FIXTURE_H_
