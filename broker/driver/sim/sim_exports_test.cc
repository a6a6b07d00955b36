// Laws of objects inside of files on the simulated driver: what is in a file stays, as RM has it, and comes
// out as a duplicate.
#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "broker/driver/sim/sim_driver.h"
#include "broker/driver/sim/sim_test_calls.h"
#include "proto/abi/exported_objects.h"

namespace nvshim::broker::sim {
namespace {

constexpr uint32_t kHeapFreeKiB = 0x16;  // NV2080_CTRL_FB_INFO_INDEX_HEAP_FREE
constexpr uint32_t kMemory = 0x5c000010, kOther = 0x5c000011;
constexpr uint64_t kBytes = 64 << 20;

class SimExportsTest : public ::testing::Test {
 protected:
  SimExportsTest() : driver_(*CreateSimDriver({})), giver_(*driver_), taker_(*driver_), file_(OpenCtl()) {
    giver_.MakeDevice();
    taker_.MakeDevice();
    free_ = taker_.FbInfo(kHeapFreeKiB);
    EXPECT_EQ(giver_.AllocSize(kMemory, kBytes), NV_OK);
  }

  DriverFileId OpenCtl() { return driver_->Open({DeviceClass::kCtl, 0}, 0).file; }
  bool AllIsFree() { return taker_.FbInfo(kHeapFreeKiB) == free_; }

  // A control on the client whose fd field at `offset` names `file`.
  static uint32_t Control(TestGuest& guest, uint32_t command, Buffer& params, uint32_t offset,
                          DriverFileId file) {
    return guest.Control(guest.client, command, params, {}, 0, {{1, offset, file}});
  }

  uint32_t ExportOne(uint32_t object, DriverFileId file, uint32_t device = TestGuest::kDevice) {
    using namespace abi::export_object;
    Buffer params(24);
    Put<uint32_t>(params, kType, abi::kExportObjectTypeRm);
    Put<uint32_t>(params, kDevice, device);
    Put<uint32_t>(params, kObject, object);
    return Control(giver_, abi::kExportObjectToFd, params, kFd, file);
  }
  uint32_t ImportOne(uint32_t* object, DriverFileId file) {
    using namespace abi::import_object;
    Buffer params(20);
    Put<uint32_t>(params, kType, abi::kExportObjectTypeRm);
    Put<uint32_t>(params, kParent, TestGuest::kDevice);
    Put<uint32_t>(params, kObject, *object);
    const uint32_t status = Control(taker_, abi::kImportObjectFromFd, params, kFd, file);
    *object = Get<uint32_t>(params, kObject);
    return status;
  }
  uint32_t ExportMany(uint16_t index, std::vector<uint32_t> objects, uint16_t max_objects = 4) {
    using namespace abi::export_objects;
    Buffer params(2128);
    Put<uint32_t>(params, kDevice, TestGuest::kDevice);
    Put<uint16_t>(params, kMaxObjects, max_objects);
    params[kMetadata] = 42;
    for (size_t i = 0; i < objects.size(); ++i) Put<uint32_t>(params, kObjects + 4 * i, objects[i]);
    Put<uint16_t>(params, kCount, static_cast<uint16_t>(objects.size()));
    Put<uint16_t>(params, kIndex, index);
    return Control(giver_, abi::kExportObjectsToFd, params, kFd, file_);
  }
  uint32_t ImportMany(uint16_t index, std::vector<uint32_t> objects, Buffer* params) {
    using namespace abi::import_objects;
    params->assign(652, 0);
    Put<uint32_t>(*params, kParent, TestGuest::kDevice);
    for (size_t i = 0; i < objects.size(); ++i) Put<uint32_t>(*params, kObjects + 4 * i, objects[i]);
    Put<uint16_t>(*params, kCount, static_cast<uint16_t>(objects.size()));
    Put<uint16_t>(*params, kIndex, index);
    return Control(taker_, abi::kImportObjectsFromFd, *params, kFd, file_);
  }

  std::unique_ptr<SimDriver> driver_;
  TestGuest giver_, taker_;
  DriverFileId file_;
  uint32_t free_ = 0;
};

TEST_F(SimExportsTest, MemoryStaysWhileAFileOrADuplicateHasIt) {
  ASSERT_EQ(ExportOne(kMemory, file_), NV_OK);
  driver_->Close(giver_.ctl);
  EXPECT_FALSE(AllIsFree());
  uint32_t object = 0;
  ASSERT_EQ(ImportOne(&object, file_), NV_OK);
  EXPECT_NE(object, 0u);
  driver_->Close(file_);
  EXPECT_FALSE(AllIsFree());
  taker_.Free(object);
  EXPECT_TRUE(AllIsFree());
}

TEST_F(SimExportsTest, AFileThatIsClosedLetsGoOfWhatIsInside) {
  ASSERT_EQ(ExportOne(kMemory, file_), NV_OK);
  giver_.Free(kMemory);
  driver_->Close(file_);
  EXPECT_TRUE(AllIsFree());
}

TEST_F(SimExportsTest, AFileIsFilledOnceByTheCallForOneObject) {
  ASSERT_EQ(ExportOne(kMemory, file_), NV_OK);
  EXPECT_EQ(ExportOne(kMemory, file_), NV_ERR_STATE_IN_USE);
  EXPECT_EQ(ExportOne(kMemory, giver_.gpu), NV_ERR_INVALID_PARAMETER);
  EXPECT_EQ(ExportOne(0x77, OpenCtl()), NV_ERR_OBJECT_NOT_FOUND);
  EXPECT_EQ(ExportOne(TestGuest::kSubdevice, OpenCtl()), NV_ERR_INVALID_ARGUMENT);
  EXPECT_EQ(ExportOne(kMemory, OpenCtl(), kMemory), NV_ERR_INVALID_PARAMETER) << "no device";
  uint32_t object = 0;
  EXPECT_EQ(ImportOne(&object, OpenCtl()), NV_ERR_INVALID_PARAMETER) << "an empty file";
}

TEST_F(SimExportsTest, PlacesAreFilledAndEmptiedByNumber) {
  using namespace abi::import_objects;
  Buffer params;
  EXPECT_EQ(ExportMany(3, {kMemory, kMemory}), NV_ERR_OUT_OF_RANGE);
  EXPECT_EQ(ImportMany(0, {0}, &params), NV_ERR_INVALID_PARAMETER) << "a failed call fills nothing";
  ASSERT_EQ(ExportMany(1, {kMemory, kMemory}), NV_OK);
  ASSERT_EQ(ImportMany(0, {0, kOther}, &params), NV_OK);
  EXPECT_EQ(params[kTypes], kTypeNone);
  EXPECT_EQ(params[kTypes + 1], kTypeVidmem);
  EXPECT_EQ(Get<uint32_t>(params, kObjects + 4), kOther);
  EXPECT_EQ(ImportMany(3, {0, 0}, &params), NV_ERR_OUT_OF_RANGE);
  ASSERT_EQ(ExportMany(1, {0, 0}), NV_OK);
  giver_.Free(kMemory);
  taker_.Free(kOther);
  EXPECT_TRUE(AllIsFree());
}

// As in RM, whatever the handles of empty places stand for; the core never asks for one there.
TEST_F(SimExportsTest, AnImportThatFailsLeavesNothingBehind) {
  Buffer params;
  ASSERT_EQ(ExportMany(0, {kMemory, 0, kMemory}), NV_OK);
  EXPECT_EQ(ImportMany(0, {kOther, 0, TestGuest::kDevice}, &params), NV_ERR_INSERT_DUPLICATE_NAME);
  EXPECT_EQ(ImportMany(0, {kOther}, &params), NV_OK) << "its handle is free again";
}

TEST_F(SimExportsTest, AFileSaysWhatItIs) {
  ASSERT_EQ(ExportMany(0, {kMemory}, 7), NV_OK);
  Buffer info(76);
  ASSERT_EQ(Control(taker_, abi::kGetExportObjectInfo, info, 0, file_), NV_OK);
  EXPECT_EQ(Get<uint32_t>(info, 4), 0u) << "the first device";
  EXPECT_EQ(Get<uint16_t>(info, 8), 7u);
  EXPECT_EQ(info[10], 42);
  EXPECT_EQ(Control(taker_, abi::kGetExportObjectInfo, info, 0, OpenCtl()), NV_ERR_INVALID_PARAMETER);
}

}  // namespace
}  // namespace nvshim::broker::sim
