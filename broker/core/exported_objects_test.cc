// Laws of objects inside of files, seen through the core: who may name the file, what it keeps, what comes
// out of it and whose that is.
#include "broker/core/exported_objects.h"

#include <gtest/gtest.h>

#include <utility>
#include <vector>

#include "broker/core/core_test_fixture.h"
#include "broker/core/limits.h"
#include "proto/abi/exported_objects.h"

namespace nvshim::broker {
namespace {

constexpr uint32_t kStatus = abi::nvos54::kStatus;
constexpr uint64_t kBytes = 1 << 20;

Request ExportOne(uint32_t client, uint32_t object, FileId file) {
  using namespace abi::export_object;
  Request request = Control(client, client, abi::kExportObjectToFd, 24);
  return request.U32(1, kType, 1).U32(1, kObject, object).U32(1, kFd, 33).File(1, kFd, file);
}
Request ImportOne(uint32_t client, uint32_t parent, uint32_t wanted, FileId file) {
  using namespace abi::import_object;
  Request request = Control(client, client, abi::kImportObjectFromFd, 20);
  return request.U32(1, kFd, 33)
      .U32(1, kType, 1)
      .U32(1, kParent, parent)
      .U32(1, kObject, wanted)
      .File(1, kFd, file);
}
Request ExportMany(uint32_t client, uint16_t index, const std::vector<uint32_t>& objects, FileId file) {
  using namespace abi::export_objects;
  Request request = Control(client, client, abi::kExportObjectsToFd, 2128);
  for (size_t i = 0; i < objects.size(); ++i)
    request.U32(1, static_cast<uint32_t>(kObjects + 4 * i), objects[i]);
  Put<uint16_t>(request.call.Bytes(1), kMaxObjects, 1000);
  Put<uint16_t>(request.call.Bytes(1), kCount, static_cast<uint16_t>(objects.size()));
  Put<uint16_t>(request.call.Bytes(1), kIndex, index);
  return request.File(1, kFd, file);
}
Request ImportMany(uint32_t client, uint16_t index, const std::vector<uint32_t>& wanted, FileId file) {
  using namespace abi::import_objects;
  Request request = Control(client, client, abi::kImportObjectsFromFd, 652);
  for (size_t i = 0; i < wanted.size(); ++i)
    request.U32(1, static_cast<uint32_t>(kObjects + 4 * i), wanted[i]);
  Put<uint16_t>(request.call.Bytes(1), kCount, static_cast<uint16_t>(wanted.size()));
  Put<uint16_t>(request.call.Bytes(1), kIndex, index);
  return request.File(1, kFd, file);
}
Request MakeMemory(uint32_t client, uint32_t object) {
  Request request(kVidHeap, 184);
  return request.U32(0, 0, client).U32(0, 4, client).U32(0, 8, 2).U32(0, 44, object).U64(0, 88, kBytes);
}

class ExportedObjectsTest : public CoreTest {
 protected:
  ExportedObjectsTest() : ctl_(Open(kA)), file_(Open(kA)), client_(NewClient(kA, ctl_)) {}

  uint64_t ChargedBytes() { return core_.Statistics(kA).memory_bytes; }
  size_t Objects() { return core_.Statistics(kA).objects; }

  // What a driver does that finds an object at every place.
  static int ImportsAll(DriverCall& call) {
    using namespace abi::import_objects;
    if (call.command != kControl) return 0;
    const auto params = call.Bytes(1);
    for (uint32_t i = 0; i < Get<uint16_t>(params, kCount); ++i) {
      params[kTypes + i] = kTypeVidmem;
      if (Get<uint32_t>(params, kObjects + 4 * i) == 0)
        Put<uint32_t>(params, kObjects + 4 * i, 0xcaf00001 + i);
    }
    return 0;
  }

  FileId ctl_, file_;
  uint32_t client_;
};

TEST_F(ExportedObjectsTest, AFileKeepsTheChargeForMemoryUntilItIsClosed) {
  Call(kA, ctl_, MakeMemory(client_, 5));
  EXPECT_EQ(At(Call(kA, ctl_, ExportOne(client_, 5, file_)), 0, kStatus), 0u);
  EXPECT_EQ(At(sent_, 1, 16), 0xffffffffu) << "the guest's number of the file";
  ASSERT_EQ(sent_.call.files.size(), 1u);
  EXPECT_EQ(sent_.call.files[0].segment, 1u);
  EXPECT_EQ(Objects(), 2u) << "one is in the file";
  Call(kA, ctl_, Free(client_, 5));
  EXPECT_EQ(ChargedBytes(), kBytes);
  EXPECT_EQ(Objects(), 1u);
  Step(FileHungUp{kA, file_});
  EXPECT_EQ(ChargedBytes(), 0u);
  EXPECT_EQ(Objects(), 0u);
}

TEST_F(ExportedObjectsTest, WhatComesOutOfAFileIsAnObjectOfTheClientAndSharesTheCharge) {
  Call(kA, ctl_, MakeMemory(client_, 5));
  Call(kA, ctl_, ExportOne(client_, 5, file_));
  const FileId others_ctl = Open(kA, kCtl, 2);
  const uint32_t other = Get<uint32_t>(Call(kA, others_ctl, MakeClient(), 2).call.Bytes(0), 8);
  Step(FileClaimed{kA, file_, 2});
  answer_ = [](DriverCall& call) {
    if (call.command == kControl) Put<uint32_t>(call.Bytes(1), abi::import_object::kObject, 0xcaf00001);
    return 0;
  };
  const ReplyIoctl reply = Call(kA, others_ctl, ImportOne(other, 7, 0, file_), 2);
  EXPECT_EQ(At(reply, 1, abi::import_object::kObject), 0xcaf00001u);
  EXPECT_EQ(At(reply, 1, abi::import_object::kFd), 33u);
  Call(kA, ctl_, Free(client_, client_));
  Step(FileHungUp{kA, file_});
  EXPECT_EQ(ChargedBytes(), kBytes) << "the other process has it still";
  EXPECT_EQ(Objects(), 1u);
  Call(kA, others_ctl, Free(other, 0xcaf00001), 2);
  EXPECT_EQ(ChargedBytes(), 0u);
}

TEST_F(ExportedObjectsTest, AFileThatTheProcessDoesNotHoldIsNone) {
  const FileId others = Open(kB), siblings = Open(kA, kCtl, 2), gpu = Open(kA, kGpu), uvm = Open(kA, kUvm);
  Open(kB);
  for (FileId file : {FileId::kNone, others, siblings, gpu, uvm, static_cast<FileId>(0xffffffff)}) {
    if (file == ctl_ || file == file_) continue;  // guests count alike
    EXPECT_TRUE(Refused(Call(kA, ctl_, ExportOne(client_, 5, file)), NV_ERR_INVALID_PARAMETER, kStatus));
    EXPECT_TRUE(Refused(Call(kA, ctl_, ImportOne(client_, 5, 6, file)), NV_ERR_INVALID_PARAMETER, kStatus));
    EXPECT_TRUE(
        Refused(Call(kA, ctl_, ExportMany(client_, 0, {5}, file)), NV_ERR_INVALID_PARAMETER, kStatus));
    EXPECT_TRUE(
        Refused(Call(kA, ctl_, ImportMany(client_, 0, {6}, file)), NV_ERR_INVALID_PARAMETER, kStatus));
    const Request info = Control(client_, client_, abi::kGetExportObjectInfo, 76).File(1, 0, file);
    EXPECT_TRUE(Refused(Call(kA, ctl_, info), NV_ERR_INVALID_PARAMETER, kStatus));
  }
  Request none = ExportOne(client_, 5, file_);
  none.files.clear();
  EXPECT_TRUE(Refused(Call(kA, ctl_, none), NV_ERR_INVALID_PARAMETER, kStatus));
}

// The driver, undoing an import that fails half way, frees the handles of empty places as well, which stand
// for whatever the guest has under them.
TEST_F(ExportedObjectsTest, NoHandleIsAskedForAtAnEmptyPlace) {
  Call(kA, ctl_, MakeMemory(client_, 5));
  Call(kA, ctl_, ExportMany(client_, 1, {5}, file_));
  answer_ = [](DriverCall& call) {
    Put<uint32_t>(call.Bytes(0), kStatus, 0x19);
    return 0;
  };
  const ReplyIoctl reply = Call(kA, ctl_, ImportMany(client_, 0, {5, 6, 7}, file_));
  using abi::import_objects::kObjects;
  EXPECT_EQ(At(sent_, 1, kObjects), 0u);
  EXPECT_EQ(At(sent_, 1, kObjects + 4), 6u);
  EXPECT_EQ(At(sent_, 1, kObjects + 8), 0u);
  for (uint32_t i : {0u, 1u, 2u}) EXPECT_EQ(At(reply, 1, kObjects + 4 * i), 5 + i) << "the guest's own again";
}

TEST_F(ExportedObjectsTest, PlacesAreFilledEmptiedAndReadByNumber) {
  Call(kA, ctl_, MakeMemory(client_, 5));
  Call(kA, ctl_, MakeMemory(client_, 6));
  Call(kA, ctl_, ExportMany(client_, 10, {5, 6}, file_));
  EXPECT_EQ(Objects(), 4u);
  Call(kA, ctl_, ExportMany(client_, 10, {0}, file_));
  EXPECT_EQ(Objects(), 3u);
  Call(kA, ctl_, Free(client_, 5));
  EXPECT_EQ(ChargedBytes(), kBytes) << "of the second alone";
  answer_ = ImportsAll;
  Call(kA, ctl_, ImportMany(client_, 11, {8}, file_));
  Call(kA, ctl_, Free(client_, 6));
  EXPECT_EQ(ChargedBytes(), kBytes);
  EXPECT_EQ(Objects(), 2u);
  Step(FileHungUp{kA, file_});
  Call(kA, ctl_, Free(client_, 8));
  EXPECT_EQ(ChargedBytes(), 0u);
  EXPECT_EQ(Objects(), 0u);
}

TEST_F(ExportedObjectsTest, WhatTheDriverRefusesLeavesNothing) {
  Call(kA, ctl_, MakeMemory(client_, 5));
  Call(kA, ctl_, ExportOne(client_, 5, file_));
  answer_ = [](DriverCall& call) {
    Put<uint32_t>(call.Bytes(0), kStatus, 0x63);
    return 0;
  };
  Call(kA, ctl_, ExportOne(client_, 5, ctl_));
  Call(kA, ctl_, ImportOne(client_, client_, 9, file_));
  EXPECT_EQ(Objects(), 2u);
}

TEST_F(ExportedObjectsTest, TheParentMayBeTheClientUnderTheGuestsNumberOnly) {
  Call(kA, ctl_, ExportOne(client_, 5, file_));
  const uint32_t real = last_real_;
  const ReplyIoctl reply = Call(kA, ctl_, ImportOne(client_, client_, 9, file_));
  EXPECT_EQ(At(sent_, 1, abi::import_object::kParent), real);
  EXPECT_EQ(At(reply, 1, abi::import_object::kParent), client_);
  EXPECT_TRUE(Refused(Call(kA, ctl_, ImportOne(client_, real, 9, file_)), NV_ERR_OBJECT_NOT_FOUND, kStatus));
}

TEST_F(ExportedObjectsTest, AnImportedObjectCannotHaveItsClientsNumber) {
  Call(kA, ctl_, ExportOne(client_, 5, file_));
  for (uint32_t number : {client_, last_real_}) {
    EXPECT_TRUE(
        Refused(Call(kA, ctl_, ImportOne(client_, 5, number, file_)), NV_ERR_INSERT_DUPLICATE_NAME, kStatus));
    EXPECT_TRUE(Refused(Call(kA, ctl_, ImportMany(client_, 0, {number}, file_)), NV_ERR_INSERT_DUPLICATE_NAME,
                        kStatus));
  }
}

TEST_F(ExportedObjectsTest, MoreHandlesThanTheParametersHoldAreRefused) {
  for (uint32_t count : {129u, 513u, 0xffffu}) {
    Request put = ExportMany(client_, 0, {5}, file_), take = ImportMany(client_, 0, {6}, file_);
    Put<uint16_t>(put.call.Bytes(1), abi::export_objects::kCount, static_cast<uint16_t>(count));
    Put<uint16_t>(take.call.Bytes(1), abi::import_objects::kCount, static_cast<uint16_t>(count));
    EXPECT_TRUE(Refused(Call(kA, ctl_, take), NV_ERR_INVALID_PARAMETER, kStatus));
    if (count > 512) {
      EXPECT_TRUE(Refused(Call(kA, ctl_, put), NV_ERR_INVALID_PARAMETER, kStatus));
    }
  }
}

TEST_F(ExportedObjectsTest, ObjectsInsideOfFilesCountAsTheGuests) {
  const std::vector<uint32_t> many(512, 5);
  for (uint32_t count = 0; count < kObjectsPerGuest; count += 512)
    ASSERT_EQ(At(Call(kA, ctl_,
                      ExportMany(client_, static_cast<uint16_t>(count % 0x8000), many,
                                 count % 0x8000 == 0 ? file_ = Open(kA) : file_)),
                 0, kStatus),
              0u);
  EXPECT_EQ(Objects(), kObjectsPerGuest);
  EXPECT_TRUE(Refused(Call(kA, ctl_, ExportMany(client_, 0x8000, {5}, file_)), NV_ERR_INSUFFICIENT_RESOURCES,
                      kStatus));
  EXPECT_TRUE(Refused(Call(kA, ctl_, MakeObject(client_, client_, 7)), NV_ERR_INSUFFICIENT_RESOURCES, 28));
  EXPECT_TRUE(
      Refused(Call(kA, ctl_, ImportOne(client_, 5, 7, file_)), NV_ERR_INSUFFICIENT_RESOURCES, kStatus));
}

}  // namespace
}  // namespace nvshim::broker
