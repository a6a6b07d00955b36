// Laws of the object tree: who may name what, and what goes with what.
#include "broker/driver/sim/object_tree.h"

#include <gtest/gtest.h>

#include "broker/driver/sim/limits.h"

namespace nvshim::broker::sim {
namespace {

constexpr DriverFileId kFile = 7, kOtherFile = 8;
constexpr uint32_t kDeviceHandle = 0xd0, kSubdeviceHandle = 0x5d;

class ObjectTreeTest : public testing::Test {
 protected:
  ObjectTreeTest() {
    uint32_t handle = 0;
    EXPECT_EQ(tree_.NewClient(kFile, 0, &handle), NV_OK);
    client_ = tree_.FindClient(handle, kFile);
  }
  NvStatus Make(uint32_t class_number, uint32_t parent, uint32_t handle, Object** object = nullptr) {
    Object* made = nullptr;
    const NvStatus status = tree_.Allocate(*client_, parent, handle, *FindClass(class_number), &made);
    if (object != nullptr) *object = made;
    return status;
  }
  void MakeDevice() {
    ASSERT_EQ(Make(NV01_DEVICE_0, client_->handle, kDeviceHandle), NV_OK);
    ASSERT_EQ(Make(NV20_SUBDEVICE_0, kDeviceHandle, kSubdeviceHandle), NV_OK);
  }

  ObjectTree tree_;
  Client* client_ = nullptr;
};

TEST_F(ObjectTreeTest, ClientHandlesAreSequentialFromRmsBase) {
  uint32_t second = 0;
  ASSERT_EQ(tree_.NewClient(kFile, 0, &second), NV_OK);
  EXPECT_EQ(client_->handle, 0xc1d00000);
  EXPECT_EQ(second, 0xc1d00001);
}

TEST_F(ObjectTreeTest, AWantedClientHandleIsGivenOnce) {
  uint32_t handle = 0;
  ASSERT_EQ(tree_.NewClient(kFile, 0xabcd, &handle), NV_OK);
  EXPECT_EQ(handle, 0xabcd);
  EXPECT_EQ(tree_.NewClient(kFile, 0xabcd, &handle), NV_ERR_INSERT_DUPLICATE_NAME);
}

TEST_F(ObjectTreeTest, AClientDoesNotExistForOtherFiles) {
  EXPECT_EQ(tree_.FindClient(client_->handle, kOtherFile), nullptr);
}

TEST_F(ObjectTreeTest, GeneratedHandlesStartAtRmsBaseAndSkipTakenOnes) {
  ASSERT_EQ(Make(NV01_DEVICE_0, client_->handle, 0xcaf00000), NV_OK);
  Object* object = nullptr;
  ASSERT_EQ(Make(NV20_SUBDEVICE_0, 0xcaf00000, 0, &object), NV_OK);
  EXPECT_EQ(object->handle, 0xcaf00001);
}

TEST_F(ObjectTreeTest, RefusesAnUnknownParentAWrongParentAndADuplicate) {
  MakeDevice();
  EXPECT_EQ(Make(NV20_SUBDEVICE_0, 0x999, 0x1), NV_ERR_OBJECT_NOT_FOUND);
  EXPECT_EQ(Make(NV20_SUBDEVICE_0, client_->handle, 0x1), NV_ERR_INVALID_OBJECT_PARENT);
  EXPECT_EQ(Make(NV20_SUBDEVICE_0, kDeviceHandle, kSubdeviceHandle), NV_ERR_INSERT_DUPLICATE_NAME);
  EXPECT_EQ(Make(NV01_DEVICE_0, client_->handle, client_->handle), NV_ERR_INSERT_DUPLICATE_NAME);
}

TEST_F(ObjectTreeTest, FreeingAParentFreesItsDescendants) {
  MakeDevice();
  tree_.Free(*client_, kDeviceHandle);
  EXPECT_EQ(client_->Find(kSubdeviceHandle), nullptr);
  EXPECT_EQ(tree_.objects(), 0u);
}

TEST_F(ObjectTreeTest, FreeingAnObjectFreesWhatNeedsIt) {
  MakeDevice();
  Object* group = nullptr;
  ASSERT_EQ(Make(0x90f1, kDeviceHandle, 0x1), NV_OK);          // FERMI_VASPACE_A
  ASSERT_EQ(Make(0xa06c, kDeviceHandle, 0x2, &group), NV_OK);  // KEPLER_CHANNEL_GROUP_A
  ASSERT_EQ(tree_.AddNeed(*client_, *group, 0x1), NV_OK);
  ASSERT_EQ(Make(0xc56f, 0x2, 0x3), NV_OK);  // AMPERE_CHANNEL_GPFIFO_A below the group
  tree_.Free(*client_, 0x1);
  EXPECT_EQ(client_->Find(0x2), nullptr);
  EXPECT_EQ(client_->Find(0x3), nullptr);
  EXPECT_NE(client_->Find(kDeviceHandle), nullptr);
}

TEST_F(ObjectTreeTest, AFreedDependentLeavesNoTraceInWhatItNeeded) {
  MakeDevice();
  Object* space = nullptr;
  Object* group = nullptr;
  ASSERT_EQ(Make(0x90f1, kDeviceHandle, 0x1, &space), NV_OK);
  ASSERT_EQ(Make(0xa06c, kDeviceHandle, 0x2, &group), NV_OK);
  ASSERT_EQ(tree_.AddNeed(*client_, *group, 0x1), NV_OK);
  tree_.Free(*client_, 0x2);
  EXPECT_TRUE(space->dependents.empty());
}

TEST_F(ObjectTreeTest, RefusesANeedThatCouldCloseACycle) {
  MakeDevice();
  Object* device = client_->Find(kDeviceHandle);
  EXPECT_EQ(tree_.AddNeed(*client_, *device, kSubdeviceHandle), NV_ERR_INVALID_ARGUMENT);
  EXPECT_EQ(tree_.AddNeed(*client_, *device, kDeviceHandle), NV_ERR_INVALID_ARGUMENT);
}

TEST_F(ObjectTreeTest, FreeingAnUnknownObjectIsNoError) {
  MakeDevice();
  tree_.Free(*client_, 0x12345);
  EXPECT_EQ(tree_.objects(), 2u);
}

TEST_F(ObjectTreeTest, FreeingTheClientFreesAllItsObjects) {
  MakeDevice();
  tree_.Free(*client_, client_->handle);
  EXPECT_EQ(tree_.clients(), 0u);
  EXPECT_EQ(tree_.objects(), 0u);
}

TEST_F(ObjectTreeTest, ClosingAFileFreesItsClientsOnly) {
  uint32_t other = 0;
  ASSERT_EQ(tree_.NewClient(kOtherFile, 0, &other), NV_OK);
  MakeDevice();
  tree_.CloseFile(kFile);
  EXPECT_EQ(tree_.clients(), 1u);
  EXPECT_EQ(tree_.objects(), 0u);
  EXPECT_NE(tree_.FindClient(other, kOtherFile), nullptr);
}

TEST_F(ObjectTreeTest, AChainAsDeepAsAllowedIsFreedWithoutRecursion) {
  uint32_t parent = client_->handle;
  for (uint32_t i = 0; client_->objects.size() < kObjectsPerClientMax; ++i) {
    ASSERT_EQ(Make(0x0002, parent, 0x1000 + i), NV_OK);  // NV01_CONTEXT_DMA: any parent
    parent = 0x1000 + i;
  }
  EXPECT_EQ(Make(0x0002, parent, 0x1), NV_ERR_INSUFFICIENT_RESOURCES);
  tree_.Free(*client_, 0x1000);
  EXPECT_EQ(tree_.objects(), 0u);
}

TEST_F(ObjectTreeTest, ClientsAreLimited) {
  uint32_t handle = 0;
  while (tree_.clients() < kClientsMax) ASSERT_EQ(tree_.NewClient(kFile, 0, &handle), NV_OK);
  EXPECT_EQ(tree_.NewClient(kFile, 0, &handle), NV_ERR_INSUFFICIENT_RESOURCES);
}

}  // namespace
}  // namespace nvshim::broker::sim
