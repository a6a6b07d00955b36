// Laws of the whole simulated driver, through its four methods.
#include "broker/driver/sim/sim_driver.h"

#include <errno.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "broker/driver/sim/machine.h"
#include "broker/driver/sim/sim_test_calls.h"

namespace nvshim::broker::sim {
namespace {

constexpr uint32_t kHeapFreeKiB = 0x16;       // NV2080_CTRL_FB_INFO_INDEX_HEAP_FREE
constexpr uint32_t kSystemMemory = 1u << 25;  // NVOS32_ATTR_LOCATION_PCI

std::unique_ptr<SimDriver> MakeDriver(SimOptions options = {}) {
  auto driver = CreateSimDriver(options);
  EXPECT_TRUE(driver.ok()) << driver.status().ToString();
  return std::move(driver).value();
}

TEST(SimDriverTest, RefusesAnUnknownProfileAndSaysWhatIsKnown) {
  const auto driver = CreateSimDriver({.gpu = "voodoo2"});
  ASSERT_FALSE(driver.ok());
  EXPECT_NE(driver.status().ToString().find("a100, h100, h200, rtx4090"), std::string::npos);
}

TEST(SimDriverTest, RefusesVersionsOfUnknownBranchesAndSaysWhatItKnows) {
  for (const char* version : {"1.0", "", "560.35.03"}) {
    const auto driver = CreateSimDriver({.driver_version = version});
    ASSERT_FALSE(driver.ok()) << version;
    EXPECT_NE(driver.status().ToString().find("550.163.01"), std::string::npos) << version;
  }
}

TEST(SimDriverTest, UuidsAreTheSameInEveryRunAndDifferBetweenGpus) {
  const auto first = MakeDriver({.gpu_count = 2}), second = MakeDriver({.gpu_count = 2});
  EXPECT_EQ(first->info().gpus[0].uuid, second->info().gpus[0].uuid);
  EXPECT_NE(first->info().gpus[0].uuid, first->info().gpus[1].uuid);
  EXPECT_EQ(first->info().gpus[0].uuid.size(), 40u);
  EXPECT_EQ(first->info().gpus[1].bus_id, "0000:02:00.0");
}

TEST(SimDriverTest, OnlyTheGpusThereCanBeOpened) {
  const auto driver = MakeDriver();
  EXPECT_EQ(driver->Open({DeviceClass::kGpu, 0}, 0).error, 0);
  EXPECT_EQ(driver->Open({DeviceClass::kGpu, 1}, 0).error, ENXIO);
}

TEST(SimDriverTest, AClientBelongsToItsFileAndToFilesRegisteredToIt) {
  const auto driver = MakeDriver();
  TestGuest guest(*driver);
  const DriverFileId other = driver->Open({DeviceClass::kCtl, 0}, 0).file;
  Buffer params(4);
  EXPECT_EQ(guest.Control(guest.client, 0x27b, params, {}, other), NV_ERR_INVALID_CLIENT);
  Buffer register_fd(4);
  ASSERT_EQ(RunEscapeNumber(*driver, other, NV_ESC_REGISTER_FD, register_fd, {}, {{0, 0, guest.ctl}}), 0);
  EXPECT_EQ(guest.Control(guest.client, 0x27b, params, {}, other), NV_OK);
}

TEST(SimDriverTest, AFileRegistersOnceAndOnlyToAnUnregisteredCtlFile) {
  const auto driver = MakeDriver();
  TestGuest guest(*driver);
  Buffer bytes(4);
  EXPECT_EQ(RunEscapeNumber(*driver, guest.gpu, NV_ESC_REGISTER_FD, bytes, {}, {{0, 0, guest.gpu}}), EINVAL);
  EXPECT_EQ(RunEscapeNumber(*driver, guest.gpu, NV_ESC_REGISTER_FD, bytes, {}, {{0, 0, guest.ctl}}), 0);
  EXPECT_EQ(RunEscapeNumber(*driver, guest.gpu, NV_ESC_REGISTER_FD, bytes, {}, {{0, 0, guest.ctl}}), EINVAL);
}

TEST(SimDriverTest, ClosingTheCtlFileReturnsItsVideoMemory) {
  const auto driver = MakeDriver();
  TestGuest watcher(*driver), guest(*driver);
  watcher.MakeDevice();
  guest.MakeDevice();
  const uint32_t free_kib = watcher.FbInfo(kHeapFreeKiB);
  ASSERT_EQ(guest.AllocSize(0x1, 64 << 20), NV_OK);
  EXPECT_EQ(watcher.FbInfo(kHeapFreeKiB), free_kib - (64 << 10));
  driver->Close(guest.ctl);
  EXPECT_EQ(watcher.FbInfo(kHeapFreeKiB), free_kib);
}

TEST(SimDriverTest, TheDriverMayEndWithMemoryAllocatedAndMapped) {
  const auto driver = MakeDriver();
  TestGuest guest(*driver);
  guest.MakeDevice();
  uint64_t key = 0;
  ASSERT_EQ(guest.AllocSize(0x1, 1 << 20), NV_OK);
  ASSERT_EQ(guest.MapMemory(0x1, 4096, driver->Open({DeviceClass::kGpu, 0}, 0).file, &key), NV_OK);
  // Nothing is closed or freed: the destructors' order must allow for it (an address sanitizer looks).
}

TEST(SimDriverTest, VideoMemoryEndsWithNoMemory) {
  const auto driver = MakeDriver();
  TestGuest guest(*driver);
  guest.MakeDevice();
  EXPECT_EQ(guest.AllocSize(0x1, 30ull << 30), NV_OK);
  EXPECT_EQ(guest.AllocSize(0x2, 30ull << 30), NV_ERR_NO_MEMORY);
  EXPECT_EQ(guest.AllocSize(0x3, 30ull << 30, kSystemMemory), NV_OK);
  EXPECT_EQ(guest.Free(0x1), NV_OK);
  EXPECT_EQ(guest.AllocSize(0x2, 30ull << 30), NV_OK);
}

TEST(SimDriverTest, AFailedAllocationLeavesNoObject) {
  const auto driver = MakeDriver();
  TestGuest guest(*driver);
  guest.MakeDevice();
  ASSERT_EQ(guest.AllocSize(0x1, 1ull << 40), NV_ERR_NO_MEMORY);
  EXPECT_EQ(guest.AllocSize(0x1, 4096), NV_OK);
}

TEST(SimDriverTest, TwoMappingsOfAnObjectShareItsBytes) {
  const auto driver = MakeDriver();
  TestGuest guest(*driver);
  guest.MakeDevice();
  ASSERT_EQ(guest.AllocSize(0x1, 8192, kSystemMemory), NV_OK);
  int fds[2];
  for (int& fd : fds) {
    const DriverFileId file = driver->Open({DeviceClass::kCtl, 0}, 0).file;
    uint64_t key = 0;
    ASSERT_EQ(guest.MapMemory(0x1, 8192, file, &key), NV_OK);
    const MapResult map = driver->Map(file);
    ASSERT_EQ(map.error, 0);
    fd = map.fd;
    driver->Close(file);
  }
  const char written = 42;
  char read = 0;
  ASSERT_EQ(pwrite(fds[0], &written, 1, 5000), 1);
  ASSERT_EQ(pread(fds[1], &read, 1, 5000), 1);
  EXPECT_EQ(read, written);
  EXPECT_EQ(ftruncate(fds[0], 0), -1) << "a guest could make other readers fault";
  for (int fd : fds) close(fd);
}

TEST(SimDriverTest, AFileTakesOneMappingAndOnlyOfItsKind) {
  const auto driver = MakeDriver();
  TestGuest guest(*driver);
  guest.MakeDevice();
  ASSERT_EQ(guest.AllocSize(0x1, 4096), NV_OK);
  const DriverFileId ctl = driver->Open({DeviceClass::kCtl, 0}, 0).file;
  const DriverFileId gpu = driver->Open({DeviceClass::kGpu, 0}, 0).file;
  uint64_t key = 0;
  EXPECT_EQ(driver->Map(gpu).error, EINVAL);
  EXPECT_EQ(guest.MapMemory(0x1, 4096, ctl, &key), NV_ERR_INVALID_ARGUMENT);
  EXPECT_EQ(guest.MapMemory(0x1, 4097, gpu, &key), NV_ERR_INVALID_LIMIT);
  EXPECT_EQ(guest.MapMemory(0x1, ~0ull, gpu, &key, 4096), NV_ERR_INVALID_LIMIT);
  EXPECT_EQ(guest.MapMemory(0x1, 4096, gpu, &key), NV_OK);
  EXPECT_EQ(guest.MapMemory(0x1, 4096, gpu, &key), NV_ERR_STATE_IN_USE);
}

TEST(SimDriverTest, ADuplicateKeepsTheMemoryAlive) {
  const auto driver = MakeDriver();
  TestGuest guest(*driver), other(*driver);
  guest.MakeDevice();
  other.MakeDevice();
  const uint32_t free_kib = guest.FbInfo(kHeapFreeKiB);
  ASSERT_EQ(guest.AllocSize(0x1, 1 << 20), NV_OK);
  Buffer dup(28);
  Put<uint32_t>(dup, 0, other.client);
  Put<uint32_t>(dup, 4, TestGuest::kDevice);
  Put<uint32_t>(dup, 8, 0x9);
  Put<uint32_t>(dup, 12, guest.client);
  Put<uint32_t>(dup, 16, 0x1);
  ASSERT_EQ(RunEscapeNumber(*driver, other.ctl, NV_ESC_RM_DUP_OBJECT, dup), 0);
  ASSERT_EQ(Get<uint32_t>(dup, 24), NV_OK);
  EXPECT_EQ(guest.Free(0x1), NV_OK);
  EXPECT_EQ(guest.FbInfo(kHeapFreeKiB), free_kib - 1024);
  EXPECT_EQ(other.Free(0x9), NV_OK);
  EXPECT_EQ(guest.FbInfo(kHeapFreeKiB), free_kib);
}

TEST(SimDriverTest, EachUnknownNumberIsCountedEveryTimeAndLoggedOnce) {
  std::vector<std::string> lines;
  const auto driver = MakeDriver({.log = [&lines](std::string_view line) { lines.emplace_back(line); }});
  TestGuest guest(*driver);
  Buffer params(8);
  uint32_t handle = 0x77;
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(guest.Control(guest.client, 0x0000ffee, params), NV_ERR_NOT_SUPPORTED);
    EXPECT_EQ(guest.Alloc(guest.client, &handle, 0xfefe), NV_ERR_INVALID_CLASS);
  }
  EXPECT_EQ(RunEscapeNumber(*driver, guest.ctl, 0x99, params), EINVAL);
  EXPECT_EQ(driver->unknown_counts().controls, 3u);
  EXPECT_EQ(driver->unknown_counts().classes, 3u);
  EXPECT_EQ(driver->unknown_counts().escapes, 1u);
  EXPECT_EQ(lines.size(), 3u);
}

TEST(SimDriverTest, AControlOfAnotherSizeIsRefused) {
  const auto driver = MakeDriver();
  TestGuest guest(*driver);
  Buffer params(5);
  EXPECT_EQ(guest.Control(guest.client, 0x27b, params), NV_ERR_INVALID_ARGUMENT);
}

TEST(SimDriverTest, AControlOfAnotherClassIsNotSupported) {
  const auto driver = MakeDriver();
  TestGuest guest(*driver);
  guest.MakeDevice();
  Buffer params(16);
  EXPECT_EQ(guest.Control(TestGuest::kDevice, 0x20801701, params), NV_ERR_NOT_SUPPORTED);
  EXPECT_EQ(guest.Control(TestGuest::kSubdevice, 0x20801701, params), NV_OK);
}

TEST(SimDriverTest, TheVersionCheckKnowsItsThreeCommands) {
  const auto driver = MakeDriver();
  const DriverFileId ctl = driver->Open({DeviceClass::kCtl, 0}, 0).file;
  const auto check = [&](uint32_t command, std::string_view version, std::string* reply) {
    Buffer bytes(72);
    Put<uint32_t>(bytes, 0, command);
    std::copy(version.begin(), version.end(), bytes.begin() + 8);
    const int error = RunEscapeNumber(*driver, ctl, NV_ESC_CHECK_VERSION_STR, bytes);
    *reply = reinterpret_cast<const char*>(bytes.data() + 8);
    return error;
  };
  std::string reply;
  EXPECT_EQ(check(0, "535.261.03", &reply), 0);
  EXPECT_EQ(check(0, "535.1", &reply), EINVAL);
  EXPECT_EQ(reply, "535.261.03");
  EXPECT_EQ(check('1', "535.1", &reply), 0);
  EXPECT_EQ(check('1', "550.1", &reply), EINVAL);
  EXPECT_EQ(check('2', "", &reply), 0);
  EXPECT_EQ(check(9, "535.261.03", &reply), EINVAL);
}

TEST(SimDriverTest, UvmWantsInitialisationFirst) {
  const auto driver = MakeDriver();
  const DriverFileId uvm = driver->Open({DeviceClass::kUvm, 0}, 0).file;
  Buffer group(16), init(16);
  ASSERT_EQ(RunCall(*driver, uvm, 23, group), 0);
  EXPECT_EQ(Get<uint32_t>(group, 8), NV_ERR_ILLEGAL_ACTION);
  ASSERT_EQ(RunCall(*driver, uvm, 0x30000001, init), 0);
  ASSERT_EQ(RunCall(*driver, uvm, 23, group), 0);
  EXPECT_EQ(Get<uint32_t>(group, 8), NV_OK);
  EXPECT_EQ(Get<uint64_t>(group, 0), 1u);
}

TEST(SimDriverTest, UvmRegistersOnlyGpusThatExist) {
  const auto driver = MakeDriver();
  const DriverFileId uvm = driver->Open({DeviceClass::kUvm, 0}, 0).file;
  Buffer init(16), wrong(40), right(40);
  RunCall(*driver, uvm, 0x30000001, init);
  const Gpu gpu = MakeGpu(*FindProfile("a100"), 0);
  std::copy(gpu.uuid.begin(), gpu.uuid.end(), right.begin());
  ASSERT_EQ(RunCall(*driver, uvm, 37, wrong), 0);
  EXPECT_EQ(Get<uint32_t>(wrong, 36), NV_ERR_GPU_UUID_NOT_FOUND);
  ASSERT_EQ(RunCall(*driver, uvm, 37, right), 0);
  EXPECT_EQ(Get<uint32_t>(right, 36), NV_OK);
}

TEST(SimDriverTest, UvmRangesDoNotOverlap) {
  UvmSpace space;
  EXPECT_EQ(space.AddRange(0x10000, 0x2000), NV_OK);
  EXPECT_EQ(space.AddRange(0x11000, 0x1000), NV_ERR_UVM_ADDRESS_IN_USE);
  EXPECT_EQ(space.AddRange(0xf000, 0x2000), NV_ERR_UVM_ADDRESS_IN_USE);
  EXPECT_EQ(space.AddRange(0x12000, 0x1000), NV_OK);
  EXPECT_EQ(space.AddRange(~uint64_t{0xfff}, 0x2000), NV_ERR_INVALID_ADDRESS);
  EXPECT_TRUE(space.Contains(0x10000, 0x2000));
  EXPECT_FALSE(space.Contains(0x10000, 0x2001));
  EXPECT_EQ(space.RemoveRange(0x10000), NV_OK);
  EXPECT_EQ(space.RemoveRange(0x10000), NV_ERR_INVALID_ADDRESS);
}

TEST(SimDriverTest, AUvmFileCanBeMappedAtAnyUserAddress) {
  const auto driver = MakeDriver();
  const DriverFileId uvm = driver->Open({DeviceClass::kUvm, 0}, 0).file;
  const MapResult map = driver->Map(uvm);
  ASSERT_EQ(map.error, 0);
  const off_t address =
      0x10000000000;  // where libcuda reserves managed memory: the file offset is the address
  void* page = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, map.fd, address);
  ASSERT_NE(page, MAP_FAILED);
  static_cast<char*>(page)[0] = 1;
  munmap(page, 4096);
  close(map.fd);
}

}  // namespace
}  // namespace nvshim::broker::sim
