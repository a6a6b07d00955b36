// Laws of the kernel driver, one for each rule that NVIDIA's module has for a process that makes calls for
// another (docs/kernel_driver.md): which system calls it makes, in which order, and which it does not make.
#include "broker/driver/kernel/kernel_driver.h"

#include <errno.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "broker/driver/kernel/discovery.h"
#include "broker/driver/sim/sim_test_calls.h"
#include "proto/abi/host_piece.h"
#include "testing/fake_kernel/fake_kernel.h"

namespace nvshim::testing {
namespace {

using broker::DeviceClass;
using broker::Driver;
using broker::DriverFileId;
using broker::Get;
using broker::MapResult;
using broker::Put;
using broker::sim::Buffer;
using broker::sim::RunCall;
using broker::sim::RunEscapeNumber;
using broker::sim::TestGuest;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr uint32_t NV_OK = 0, NV_ERR_INVALID_ADDRESS = 0x1e, NV_ERR_INVALID_CLIENT = 0x23,
                   NV_ERR_OBJECT_NOT_FOUND = 0x57, NV_ERR_STATE_IN_USE = 0x63;
constexpr uint32_t kMemory = 0x5c000010;
constexpr uint64_t kPage = 4096, kBytes = 0x10000;

class KernelDriverTest : public ::testing::Test {
 protected:
  KernelDriverTest() {
    FakeKernelOptions options;
    options.sim.gpu = "h100";
    options.record = [this](const std::string& call) { calls_.push_back(call); };
    kernel_ = std::make_unique<FakeKernel>(options);
    driver_ = broker::kernel::CreateKernelDriver(*kernel_).value();
  }
  ~KernelDriverTest() override {
    driver_.reset();
    kernel_.reset();
  }

  std::vector<std::string> TakeCalls() { return std::exchange(calls_, {}); }

  DriverFileId Open(DeviceClass device_class, uint32_t flags = O_RDWR) {
    const broker::OpenResult opened = driver_->Open({device_class, 0}, flags);
    EXPECT_EQ(opened.error, 0);
    return opened.file;
  }
  void Register(const TestGuest& guest) {
    Buffer params(4);
    EXPECT_EQ(RunEscapeNumber(*driver_, guest.gpu, 0xc9, params, {}, {{0, 0, guest.ctl}}), 0);
  }
  // As the core and the worker do it: maps memory of `guest` for its process. The mapping; the guest's
  // descriptor is closed, as libcuda's is.
  void* MapForGuest(TestGuest& guest, uint32_t memory = kMemory) {
    const DriverFileId carrier = Open(DeviceClass::kGpu);
    EXPECT_EQ(guest.MapMemory(memory, kBytes, carrier, &key_), NV_OK);
    const MapResult map = driver_->Map(carrier);
    EXPECT_EQ(map.error, 0);
    driver_->Close(carrier);
    void* const at = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED, map.fd, 0);
    EXPECT_NE(at, MAP_FAILED);
    close(map.fd);
    return at;
  }
  uint32_t Unmap(TestGuest& guest, uint32_t memory = kMemory) {
    Buffer params(32);
    Put<uint32_t>(params, 0, guest.client);
    Put<uint32_t>(params, 4, TestGuest::kDevice);
    Put<uint32_t>(params, 8, memory);
    Put<uint64_t>(params, 16, key_);
    EXPECT_EQ(RunEscapeNumber(*driver_, guest.ctl, 0x4f, params), 0);
    return Get<uint32_t>(params, 24);
  }
  // A guest with a device, and video memory to map.
  TestGuest NewGuest() {
    TestGuest guest(*driver_);
    guest.MakeDevice();
    EXPECT_EQ(guest.AllocSize(kMemory, kBytes), NV_OK);
    return guest;
  }

  uint64_t key_ = 0;  // the last mapping's linear address
  std::vector<std::string> calls_;
  std::unique_ptr<FakeKernel> kernel_;
  std::unique_ptr<Driver> driver_;
};

TEST_F(KernelDriverTest, StartsByAskingTheVersionAndOpeningEveryGpu) {
  EXPECT_THAT(TakeCalls(), ElementsAre("open 1 /dev/nvidiactl", "ioctl 1 NV_ESC_CHECK_VERSION_STR", "close 1",
                                       "open 2 /dev/nvidia0"));
  EXPECT_EQ(driver_->info().version, "535.261.03");
  ASSERT_EQ(driver_->info().gpus.size(), 1u);
  EXPECT_EQ(driver_->info().gpus[0].minor, 0u);
  EXPECT_THAT(driver_->info().gpus[0].name, HasSubstr("H100"));
  EXPECT_THAT(driver_->info().gpus[0].uuid, HasSubstr("GPU-"));
  driver_.reset();
  EXPECT_THAT(TakeCalls(), ElementsAre("close 2"));
}

// The module looks descriptors up in the table of the process that calls.
TEST_F(KernelDriverTest, ADescriptorInsideOfParametersIsTheWorkersOwn) {
  TestGuest giver = NewGuest(), taker = NewGuest();
  const DriverFileId file = Open(DeviceClass::kCtl);
  TakeCalls();
  Buffer put(24), take(20);
  Put<uint32_t>(put, 0, 1);
  Put<uint32_t>(put, 12, kMemory);
  EXPECT_EQ(giver.Control(giver.client, 0x3d05, put, {}, 0, {{1, 16, file}}), NV_OK);
  Put<uint32_t>(take, 4, 1);
  Put<uint32_t>(take, 12, TestGuest::kDevice);
  EXPECT_EQ(taker.Control(taker.client, 0x3d06, take, {}, 0, {{1, 0, file}}), NV_OK);
  EXPECT_NE(Get<uint32_t>(take, 16), 0u);
  EXPECT_THAT(TakeCalls(), ElementsAre(HasSubstr("NV_ESC_RM_CONTROL 0x3d05 with 7 = 0x0"),
                                       HasSubstr("NV_ESC_RM_CONTROL 0x3d06 with 7 = 0x0")));
}

TEST_F(KernelDriverTest, AContextIsMadeByExactlyTheseCalls) {
  TakeCalls();
  TestGuest guest(*driver_);
  Register(guest);
  guest.MakeDevice();
  guest.AllocSize(kMemory, kBytes);
  const DriverFileId uvm = Open(DeviceClass::kUvm);
  Buffer initialize(16);
  RunCall(*driver_, uvm, 0x30000001, initialize);
  void* const window = MapForGuest(guest);
  Unmap(guest);
  munmap(window, kBytes);
  EXPECT_EQ(guest.Free(kMemory), NV_OK);
  driver_->Close(uvm);
  driver_->Close(guest.gpu);
  driver_->Close(guest.ctl);
  EXPECT_THAT(
      TakeCalls(),
      ElementsAre("open 3 /dev/nvidiactl", "open 4 /dev/nvidia0", "ioctl 3 NV_ESC_RM_ALLOC 0x41 = 0x0",
                  "ioctl 4 NV_ESC_REGISTER_FD", "ioctl 3 NV_ESC_RM_ALLOC 0x80 = 0x0",
                  "ioctl 3 NV_ESC_RM_ALLOC 0x2080 = 0x0", "ioctl 3 NV_ESC_RM_VID_HEAP_CONTROL = 0x0",
                  "open 5 /dev/nvidia-uvm", "ioctl 5 UVM_INITIALIZE = 0x0",
                  "open 6 /dev/nvidia0",  // carries the mapping, and nothing else ever
                  "ioctl 3 NV_ESC_RM_MAP_MEMORY onto 6 = 0x0", "close 6",
                  "ioctl 3 NV_ESC_RM_UNMAP_MEMORY = 0x0",  // once the guest's mapping was gone
                  "ioctl 3 NV_ESC_RM_FREE = 0x0", "close 5", "close 4", "close 3"));
}

TEST_F(KernelDriverTest, GpusAreOpenedBlocking) {
  TakeCalls();
  Open(DeviceClass::kGpu, O_RDWR | O_NONBLOCK);
  EXPECT_THAT(TakeCalls(), ElementsAre("open 3 /dev/nvidia0"));
}

TEST_F(KernelDriverTest, ADeviceNeedsNoOpenGpuOfTheGuest) {
  TestGuest guest(*driver_);
  driver_->Close(guest.gpu);
  uint32_t device = TestGuest::kDevice;
  Buffer params(56);
  EXPECT_EQ(guest.Alloc(guest.client, &device, 0x80, &params), NV_OK);
}

TEST_F(KernelDriverTest, WhatConcernsTheWholeMachineIsAnsweredWithoutIt) {
  const DriverFileId ctl = Open(DeviceClass::kCtl), gpu = Open(DeviceClass::kGpu);
  TakeCalls();
  Buffer version(72), sys_params(8), numa(560), wait(8, 0xff);
  EXPECT_EQ(RunEscapeNumber(*driver_, ctl, 0xd2, version), EINVAL);  // an empty string, compared strictly
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(version.data()) + 8), "535.261.03");
  EXPECT_EQ(RunEscapeNumber(*driver_, ctl, 0xd2, version), 0);
  Put<uint64_t>(sys_params, 0, 128 << 20);
  EXPECT_EQ(RunEscapeNumber(*driver_, ctl, 0xd6, sys_params), 0);
  EXPECT_EQ(RunEscapeNumber(*driver_, gpu, 0xd7, numa), 0);
  EXPECT_EQ(Get<int32_t>(numa, 0), -1);
  EXPECT_EQ(Get<uint64_t>(numa, 8), uint64_t{128 << 20});
  EXPECT_EQ(RunEscapeNumber(*driver_, gpu, 0xda, wait), 0);
  EXPECT_EQ(wait, Buffer(8));
  EXPECT_THAT(TakeCalls(), ElementsAre());
}

// ---- UVM ----

TEST_F(KernelDriverTest, UvmFilesAreMultiProcessAndTheGuestSeesItsOwnFlags) {
  const DriverFileId uvm = Open(DeviceClass::kUvm);
  for (uint64_t flags : {0u, 1u}) {
    Buffer params(16);
    Put<uint64_t>(params, 0, flags);
    EXPECT_EQ(RunCall(*driver_, uvm, 0x30000001, params), 0);
    EXPECT_EQ(Get<uint64_t>(params, 0), flags);
  }
  const MapResult map = driver_->Map(uvm);  // which the fake kernel only has in that mode
  ASSERT_EQ(map.error, 0);
  constexpr uint64_t kAddress = 0x2000'0000'0000;  // free also under AddressSanitizer
  void* const wish = reinterpret_cast<void*>(kAddress);
  void* const at =
      mmap(wish, kPage, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED_NOREPLACE, map.fd, kAddress);
  EXPECT_EQ(at, wish);
  munmap(at, kPage);
  close(map.fd);
}

TEST_F(KernelDriverTest, PagesOfAGuestAreNotLookedForInTheBroker) {
  const DriverFileId uvm = Open(DeviceClass::kUvm);
  Buffer initialize(16), populate(24);
  RunCall(*driver_, uvm, 0x30000001, initialize);
  TakeCalls();
  EXPECT_EQ(RunCall(*driver_, uvm, 71, populate), 0);
  EXPECT_EQ(Get<uint32_t>(populate, 20), NV_ERR_INVALID_ADDRESS);
  EXPECT_THAT(TakeCalls(), ElementsAre());
}

// ---- What a guest gets ----

TEST_F(KernelDriverTest, OnlyAFileWithoutAHistoryGoesToAGuest) {
  TestGuest guest = NewGuest();
  EXPECT_EQ(driver_->Map(guest.ctl).error, EPERM) << "its clients' file";
  Register(guest);
  EXPECT_EQ(driver_->Map(guest.gpu).error, EPERM) << "registered";
  const DriverFileId event = Open(DeviceClass::kGpu);
  Buffer params(16);
  Put<uint32_t>(params, 0, guest.client);
  RunEscapeNumber(*driver_, event, 0xce, params);
  EXPECT_EQ(driver_->Map(event).error, EPERM) << "with an event";
  EXPECT_EQ(driver_->Map(Open(DeviceClass::kGpu)).error, EINVAL) << "with nothing to map";
}

TEST_F(KernelDriverTest, AGuestMapsWhatTheWorkerPrepared) {
  TestGuest guest = NewGuest();
  auto* first = static_cast<uint8_t*>(MapForGuest(guest));
  auto* second = static_cast<uint8_t*>(MapForGuest(guest));
  first[17] = 0xa5;
  EXPECT_EQ(second[17], 0xa5) << "one memory, two windows";
  munmap(first, kBytes);
  munmap(second, kBytes);
}

// ---- Mapped memory goes last ----

TEST_F(KernelDriverTest, AnUnmappingWaitsForTheGuestsMapping) {
  TestGuest guest = NewGuest();
  void* const window = MapForGuest(guest);
  TakeCalls();
  EXPECT_EQ(Unmap(guest), NV_OK) << "the guest goes on";
  EXPECT_THAT(TakeCalls(), ElementsAre());
  EXPECT_EQ(Unmap(guest), NV_ERR_OBJECT_NOT_FOUND) << "there was one mapping";
  munmap(window, kBytes);
  EXPECT_EQ(guest.Free(kMemory), NV_OK);
  EXPECT_THAT(TakeCalls(),
              ElementsAre("ioctl 3 NV_ESC_RM_UNMAP_MEMORY = 0x0", "ioctl 3 NV_ESC_RM_FREE = 0x0"));
}

TEST_F(KernelDriverTest, AnUnmappingOfWhatNobodyMapsIsNotHeldUp) {
  TestGuest guest = NewGuest();
  munmap(MapForGuest(guest), kBytes);
  TakeCalls();
  Unmap(guest);
  EXPECT_THAT(TakeCalls(), ElementsAre("ioctl 3 NV_ESC_RM_UNMAP_MEMORY = 0x0"));
}

TEST_F(KernelDriverTest, NothingThatIsMappedIsFreed) {
  TestGuest guest = NewGuest(), other(*driver_);
  void* const window = MapForGuest(guest);
  TakeCalls();
  for (uint32_t object : {kMemory, TestGuest::kSubdevice, TestGuest::kDevice, guest.client})
    EXPECT_EQ(guest.Free(object), NV_ERR_STATE_IN_USE) << std::hex << object;
  EXPECT_THAT(TakeCalls(), ElementsAre());
  EXPECT_EQ(other.Free(other.client), NV_OK) << "a client without mappings";
  munmap(window, kBytes);
  EXPECT_EQ(guest.Free(guest.client), NV_OK);
}

TEST_F(KernelDriverTest, AClosedFileLingersWhileTheMemoryOfItsClientsIsMapped) {
  TestGuest guest = NewGuest();
  void* const window = MapForGuest(guest);
  TakeCalls();
  driver_->Close(guest.ctl);
  EXPECT_EQ(driver_->Reap(), 1u);
  EXPECT_THAT(TakeCalls(), ElementsAre());
  munmap(window, kBytes);
  EXPECT_EQ(driver_->Reap(), 0u);
  EXPECT_THAT(TakeCalls(), ElementsAre("close 3"));
}

TEST_F(KernelDriverTest, ADescriptorAloneHoldsAMappingBack) {
  TestGuest guest = NewGuest();
  const DriverFileId carrier = Open(DeviceClass::kGpu);
  uint64_t key;
  ASSERT_EQ(guest.MapMemory(kMemory, kBytes, carrier, &key), NV_OK);
  const MapResult map = driver_->Map(carrier);
  driver_->Close(carrier);
  EXPECT_EQ(guest.Free(kMemory), NV_ERR_STATE_IN_USE) << "it can be mapped at any time";
  close(map.fd);
  EXPECT_EQ(guest.Free(kMemory), NV_OK);
}

TEST_F(KernelDriverTest, CallsOfSeveralThreadsDoNotMix) {
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([this] {
      for (int round = 0; round < 20; ++round) {
        TestGuest guest = NewGuest();
        Register(guest);
        const DriverFileId carrier = Open(DeviceClass::kGpu);
        uint64_t key;
        EXPECT_EQ(guest.MapMemory(kMemory, kBytes, carrier, &key), NV_OK);
        const MapResult map = driver_->Map(carrier);
        EXPECT_EQ(map.error, 0);
        driver_->Close(carrier);
        EXPECT_EQ(guest.Free(kMemory), NV_ERR_STATE_IN_USE);
        close(map.fd);
        EXPECT_EQ(guest.Free(kMemory), NV_OK);
        driver_->Close(guest.gpu);
        driver_->Close(guest.ctl);
      }
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(driver_->Reap(), 0u);
}

// ---- Host memory ----

class HostMemoryOfKernelTest : public KernelDriverTest {
 protected:
  HostMemoryOfKernelTest() : guest_(*driver_) { guest_.MakeDevice(); }

  // `size_bytes` of new pages; the status, and what goes to the guest in `*map`.
  uint32_t RegisterPages(uint32_t handle, uint64_t size_bytes, MapResult* map) {
    const DriverFileId carrier = Open(DeviceClass::kGpu);
    const abi::HostPiece piece{0, 0x7f00'0000'0000, size_bytes};
    Buffer params(56), list(sizeof(piece));
    std::memcpy(list.data(), &piece, sizeof(piece));
    Put<uint32_t>(params, 0, guest_.client);
    Put<uint32_t>(params, 4, TestGuest::kDevice);
    Put<uint32_t>(params, 8, handle);
    Put<uint32_t>(params, 12, 0x71);
    Put<uint64_t>(params, 32, size_bytes - 1);
    EXPECT_EQ(RunEscapeNumber(*driver_, guest_.gpu, 0x27, params, {{24, &list}}, {{0, 48, carrier}}), 0);
    *map = driver_->Map(carrier);
    driver_->Close(carrier);
    return Get<uint32_t>(params, 40);
  }

  TestGuest guest_;
};

TEST_F(HostMemoryOfKernelTest, TheWorkersOwnPagesArePinnedAndTheGuestGetsTheSame) {
  Register(guest_);
  TakeCalls();
  MapResult map;
  ASSERT_EQ(RegisterPages(1, 3 * kPage, &map), NV_OK);
  // The fake kernel finds the pages at the caller's address or refuses.
  EXPECT_THAT(TakeCalls(), Contains("ioctl 4 NV_ESC_RM_ALLOC_MEMORY 0x71 = 0x0"));
  ASSERT_EQ(map.error, 0);
  void* const at = mmap(nullptr, 3 * kPage, PROT_READ, MAP_SHARED, map.fd, 0x7f00'0000'0000);
  EXPECT_NE(at, MAP_FAILED);
  unsigned char present[3] = {};
  EXPECT_EQ(mincore(at, 3 * kPage, present), 0);
  EXPECT_THAT(present, ::testing::Each(1)) << "touched before the driver pins them";
  munmap(at, 3 * kPage);
  close(map.fd);
}

TEST_F(HostMemoryOfKernelTest, ItHangsAtTheClientsFile) {
  MapResult map;
  EXPECT_EQ(RegisterPages(1, kPage, &map), NV_ERR_INVALID_CLIENT) << "the GPU file is not registered";
  EXPECT_NE(map.error, 0);
}

TEST_F(HostMemoryOfKernelTest, AFailedRegistrationGivesNothingAway) {
  Register(guest_);
  guest_.client ^= 1;
  MapResult map;
  EXPECT_NE(RegisterPages(1, kPage, &map), NV_OK);
  EXPECT_NE(map.error, 0);
}

// ---- Events ----

class EventsOfKernelTest : public KernelDriverTest {
 protected:
  DriverFileId EventFile(TestGuest& guest) {
    const DriverFileId file = Open(DeviceClass::kGpu);
    Buffer params(16);
    Put<uint32_t>(params, 0, guest.client);
    EXPECT_EQ(RunEscapeNumber(*driver_, file, 0xce, params), 0);
    return file;
  }
  std::vector<DriverFileId> AwaitSignals() {
    pollfd entry{driver_->signal_fd(), POLLIN, 0};
    EXPECT_EQ(poll(&entry, 1, 30'000), 1);
    std::vector<DriverFileId> files;
    driver_->TakeSignals(&files);
    return files;
  }
};

TEST_F(EventsOfKernelTest, EachEventIsToldOnce) {
  TestGuest guest(*driver_);
  Register(guest);
  const DriverFileId first = EventFile(guest);
  const int first_fd = kernel_->last_fd();
  const DriverFileId second = EventFile(guest);
  const int second_fd = kernel_->last_fd();
  for (int i = 0; i < 3; ++i) {
    kernel_->Fire(first_fd);
    EXPECT_THAT(AwaitSignals(), ElementsAre(first));
    kernel_->Fire(second_fd);
    EXPECT_THAT(AwaitSignals(), ElementsAre(second));
  }
  pollfd entry{driver_->signal_fd(), POLLIN, 0};
  EXPECT_EQ(poll(&entry, 1, 0), 0) << "nothing is told twice";
  driver_->Close(first);
  driver_->Close(second);
}

// ---- The machine ----

class BrokenKernel : public FakeKernel {
 public:
  using FakeKernel::FakeKernel;
  int Open(const std::string& path, int flags) override {
    return path == broken_path ? -broken_error : FakeKernel::Open(path, flags);
  }
  std::optional<std::string> Read(const std::string& path) override {
    return path == "/proc/devices" && no_uvm ? std::optional<std::string>("195 nvidia\n")
                                             : FakeKernel::Read(path);
  }
  std::string broken_path;
  int broken_error = 0;
  bool no_uvm = false;
};

TEST(DiscoveryTest, WhatIsWrongWithTheMachineIsSaidWithItsRemedy) {
  BrokenKernel kernel(FakeKernelOptions{});
  kernel.broken_path = "/dev/nvidiactl";
  kernel.broken_error = ENOENT;
  EXPECT_THAT(broker::kernel::Discover(kernel).status().message(), HasSubstr("nvidia-modprobe"));
  kernel.broken_error = EACCES;
  EXPECT_THAT(broker::kernel::Discover(kernel).status().message(), HasSubstr("runs as uid"));
  kernel.broken_path = "/dev/nvidia0";
  kernel.broken_error = EIO;
  EXPECT_THAT(broker::kernel::CreateKernelDriver(kernel).status().message(),
              HasSubstr("/dev/nvidia0: Input/output"));
  kernel.no_uvm = true;
  EXPECT_THAT(broker::kernel::Discover(kernel).status().message(), HasSubstr("nvidia-uvm is not loaded"));
}

TEST(DiscoveryTest, GuestsAreToldNotToMakeDeviceFiles) {
  FakeKernel kernel(FakeKernelOptions{});
  const auto info = broker::kernel::Discover(kernel).value();
  const auto params =
      std::ranges::find(info.files, "/proc/driver/nvidia/params", [](const auto& f) { return f.first; });
  ASSERT_NE(params, info.files.end());
  EXPECT_THAT(params->second, HasSubstr("ModifyDeviceFiles: 0\n"));
  EXPECT_THAT(params->second, Not(HasSubstr("ModifyDeviceFiles: 1")));
  EXPECT_THAT(params->second, HasSubstr("DeviceFileMode: 438\n"));
  EXPECT_EQ(info.uvm_major, 510u);
}

TEST(DiscoveryTest, WarmGpusAreHeldOpenAndTheirOpeningIsTimed) {
  std::vector<std::string> calls, log;
  FakeKernelOptions options;
  options.sim.gpu_count = 2;
  options.record = [&](const std::string& call) { calls.push_back(call); };
  FakeKernel kernel(options);
  const auto info = broker::kernel::Discover(kernel).value();
  calls.clear();
  {
    const auto warm =
        broker::kernel::WarmGpus::Open(kernel, info, [&](std::string_view line) { log.emplace_back(line); });
    ASSERT_TRUE(warm.ok());
    EXPECT_THAT(calls, ElementsAre("open 2 /dev/nvidia0", "open 3 /dev/nvidia1"));
    EXPECT_THAT(log, ElementsAre(HasSubstr("/dev/nvidia0"), HasSubstr("opened in")));
  }
  EXPECT_EQ(calls.size(), 4u);
}

}  // namespace
}  // namespace nvshim::testing
