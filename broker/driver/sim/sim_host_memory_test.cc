// Laws of NV_ESC_RM_ALLOC_MEMORY of class NV01_MEMORY_SYSTEM_OS_DESCRIPTOR on the simulated driver: which
// file goes back to the guest, what is known to whom, and that nothing stays.
#include <errno.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <random>

#include "broker/driver/sim/sim_driver.h"
#include "broker/driver/sim/sim_test_calls.h"
#include "proto/abi/host_piece.h"

namespace nvshim::broker::sim {
namespace {

using abi::HostPiece;

constexpr uint64_t kAddress = 0x7f0000000000, kPage = 4096;

Buffer BytesOf(const std::vector<HostPiece>& pieces) {
  const auto* bytes = reinterpret_cast<const uint8_t*>(pieces.data());
  return {bytes, bytes + pieces.size() * sizeof(HostPiece)};
}

size_t OpenDescriptors() {
  const std::filesystem::directory_iterator fds("/proc/self/fd");
  return static_cast<size_t>(std::distance(begin(fds), end(fds)));
}

class SimHostMemoryTest : public ::testing::Test {
 protected:
  SimHostMemoryTest() : driver_(CreateSimDriver({}).value()), guest_(*driver_) { Init(guest_); }

  void Init(TestGuest& guest) {
    guest.MakeDevice();
    Buffer register_fd(4);
    EXPECT_EQ(RunEscapeNumber(*driver_, guest.gpu, NV_ESC_REGISTER_FD, register_fd, {}, {{0, 0, guest.ctl}}),
              0);
  }

  // Registers as the core does it: with a fresh file to carry a new host file. Returns the status; `*inode`
  // is that of the host file which goes to the guest, 0 for none.
  uint32_t Register(TestGuest& guest, uint32_t handle, Buffer list, uint64_t size_bytes, uint64_t* inode) {
    const DriverFileId carrier = driver_->Open({DeviceClass::kGpu, 0}, 0).file;
    Buffer params(56);
    Put<uint32_t>(params, 0, guest.client);
    Put<uint32_t>(params, 4, TestGuest::kDevice);
    Put<uint32_t>(params, 8, handle);
    Put<uint32_t>(params, 12, NV01_MEMORY_SYSTEM_OS_DESCRIPTOR);
    Put<uint64_t>(params, 32, size_bytes - 1);
    EXPECT_EQ(RunEscapeNumber(*driver_, guest.gpu, NV_ESC_RM_ALLOC_MEMORY, params, {{24, &list}},
                              {{0, 48, carrier}}),
              0);
    const MapResult map = driver_->Map(carrier);
    *inode = 0;
    if (map.error == 0) {
      struct stat status;
      EXPECT_EQ(fstat(map.fd, &status), 0);
      *inode = status.st_ino;
      close(map.fd);
    }
    driver_->Close(carrier);
    return Get<uint32_t>(params, 40);
  }
  uint32_t Register(uint32_t handle, const std::vector<HostPiece>& pieces, uint64_t* inode) {
    uint64_t size_bytes = 0;
    for (const HostPiece& piece : pieces) size_bytes += piece.size_bytes;
    return Register(guest_, handle, BytesOf(pieces), size_bytes, inode);
  }

  const std::unique_ptr<SimDriver> driver_;
  TestGuest guest_;
};

TEST_F(SimHostMemoryTest, NewPagesComeWithOneFileAndKnownPagesWithNone) {
  uint64_t inode, again, mixed;
  ASSERT_EQ(Register(1, {{0, kAddress, 4 * kPage}, {0, kAddress + 8 * kPage, kPage}}, &inode), NV_OK);
  EXPECT_NE(inode, 0u);
  ASSERT_EQ(guest_.Free(1), NV_OK);
  ASSERT_EQ(Register(2, {{inode, kAddress, 4 * kPage}}, &again), NV_OK) << "known after the object is gone";
  EXPECT_EQ(again, 0u);
  ASSERT_EQ(Register(3, {{inode, kAddress, kPage}, {0, kAddress + 20 * kPage, kPage}}, &mixed), NV_OK);
  EXPECT_NE(mixed, 0u);
  EXPECT_NE(mixed, inode);
}

TEST_F(SimHostMemoryTest, EveryGpuFileOfAClientKnowsTheSamePages) {
  uint64_t inode, again;
  ASSERT_EQ(Register(1, {{0, kAddress, kPage}}, &inode), NV_OK);
  const DriverFileId first = guest_.gpu;
  guest_.gpu = driver_->Open({DeviceClass::kGpu, 0}, 0).file;
  Buffer register_fd(4);
  ASSERT_EQ(RunEscapeNumber(*driver_, guest_.gpu, NV_ESC_REGISTER_FD, register_fd, {}, {{0, 0, guest_.ctl}}),
            0);
  driver_->Close(first);
  EXPECT_EQ(Register(2, {{inode, kAddress, kPage}}, &again), NV_OK);
}

TEST_F(SimHostMemoryTest, PagesOfAnotherClientDoNotExist) {
  TestGuest other(*driver_);
  Init(other);
  uint64_t inode, none;
  ASSERT_EQ(Register(1, {{0, kAddress, kPage}}, &inode), NV_OK);
  EXPECT_EQ(Register(other, 1, BytesOf({{inode, kAddress, kPage}}), kPage, &none), NV_ERR_OBJECT_NOT_FOUND);
  EXPECT_EQ(none, 0u);
}

TEST_F(SimHostMemoryTest, ARefusedRegistrationLeavesNeitherObjectNorFile) {
  uint64_t inode;
  const size_t before = OpenDescriptors();
  EXPECT_EQ(Register(1, {{0, kAddress, kPage}, {0, kAddress, kPage}}, &inode), NV_ERR_INVALID_ARGUMENT);
  EXPECT_EQ(Register(1, {{4711, kAddress, kPage}}, &inode), NV_ERR_OBJECT_NOT_FOUND);
  EXPECT_EQ(Register(1, {{0, kAddress, kPage}, {4711, kAddress, kPage}}, &inode), NV_ERR_OBJECT_NOT_FOUND);
  EXPECT_EQ(inode, 0u);
  EXPECT_EQ(OpenDescriptors(), before);
  EXPECT_EQ(Register(1, {{0, kAddress, kPage}}, &inode), NV_OK) << "the handle is free";
}

TEST_F(SimHostMemoryTest, WithoutAListThereIsNoMemory) {
  Buffer params(56);
  Put<uint32_t>(params, 0, guest_.client);
  Put<uint32_t>(params, 4, TestGuest::kDevice);
  Put<uint32_t>(params, 8, 1);
  Put<uint32_t>(params, 12, NV01_MEMORY_SYSTEM_OS_DESCRIPTOR);
  Put<uint64_t>(params, 32, kPage - 1);
  const DriverFileId carrier = driver_->Open({DeviceClass::kGpu, 0}, 0).file;
  ASSERT_EQ(RunEscapeNumber(*driver_, guest_.gpu, NV_ESC_RM_ALLOC_MEMORY, params, {}, {{0, 48, carrier}}), 0);
  EXPECT_EQ(Get<uint32_t>(params, 40), NV_ERR_INVALID_ARGUMENT);
}

TEST_F(SimHostMemoryTest, WithItsCtlFileAllOfAProcessIsGone) {
  const size_t before = OpenDescriptors();
  uint64_t inode;
  for (uint32_t i = 1; i < 20; ++i) ASSERT_EQ(Register(i, {{0, kAddress, kPage}}, &inode), NV_OK);
  for (uint32_t i = 1; i < 10; ++i) guest_.Free(i);
  EXPECT_EQ(OpenDescriptors(), before + 19);
  driver_->Close(guest_.ctl);
  EXPECT_EQ(OpenDescriptors(), before);
}

// A hostile guest: lists of any bytes, among them inodes that exist.
TEST_F(SimHostMemoryTest, NoListCrashesIt) {
  std::mt19937 random(1);
  uint64_t known, inode;
  ASSERT_EQ(Register(1, {{0, kAddress, 4 * kPage}}, &known), NV_OK);
  const uint64_t kNumbers[] = {
      0, 1, kPage, kAddress, ~uint64_t{0}, ~uint64_t{4095}, uint64_t{1} << 47, uint64_t{1} << 63};
  for (int round = 0; round < 5000; ++round) {
    std::vector<HostPiece> pieces(random() % 70);
    for (HostPiece& piece : pieces)
      piece = {random() % 2 == 0 ? known : kNumbers[random() % 8],
               kNumbers[random() % 8] + kPage * (random() % 4), kNumbers[random() % 8]};
    Buffer list = BytesOf(pieces);
    list.resize(list.size() - (list.empty() ? 0 : random() % 3));
    Register(guest_, 2, std::move(list), kNumbers[random() % 8], &inode);
    guest_.Free(2);
  }
  EXPECT_EQ(driver_->Open({DeviceClass::kCtl, 0}, 0).error, 0);
}

}  // namespace
}  // namespace nvshim::broker::sim
