// Laws of the file table: an id names one file for as long as it is open and nothing afterwards, and a file
// is named only by the processes that hold it.
#include "broker/core/file_table.h"

#include <gtest/gtest.h>

#include <set>
#include <vector>

#include "broker/core/limits.h"

namespace nvshim::broker {
namespace {

constexpr DeviceNode kCtl = {DeviceClass::kCtl, 0};
constexpr ProcessId kProcess{1};
constexpr ProcessId kOther{2};

// A file that the driver has opened.
FileId Open(FileTable& files, ProcessId process = kProcess) {
  File* file = files.Reserve(kCtl, process);
  EXPECT_NE(file, nullptr);
  file->driver_file = 100;
  return file->id;
}

TEST(FileTableTest, AReservedFileIsFoundUnderItsIdWithItsNode) {
  FileTable files;
  File* file = files.Reserve({DeviceClass::kGpu, 3}, kProcess);
  ASSERT_NE(file, nullptr);
  EXPECT_NE(file->id, FileId::kNone);
  EXPECT_EQ(files.Find(file->id), file);
  EXPECT_EQ(file->node.device_class, DeviceClass::kGpu);
  EXPECT_EQ(file->node.minor, 3u);
  EXPECT_EQ(files.size(), 1u);
}

TEST(FileTableTest, AnyOtherNumberNamesNothing) {
  FileTable files;
  const auto id = static_cast<uint32_t>(Open(files));
  for (uint32_t number :
       {0u, id + 1, id - 1, id ^ 0x1000, id ^ 0x80000000u, 0xffffffffu, 0xfffu, id + 0x1000})
    EXPECT_EQ(files.Find(static_cast<FileId>(number)), nullptr) << number;
  EXPECT_EQ(FileTable().Find(FileId{0x1000}), nullptr);
}

TEST(FileTableTest, AClosedFilesIdNamesNothingThoughItsPlaceIsTakenAgain) {
  FileTable files;
  std::set<FileId> seen;
  for (int i = 0; i < 10000; ++i) {
    const FileId id = Open(files);
    EXPECT_TRUE(seen.insert(id).second) << "given out twice";
    files.Remove(id);
    EXPECT_EQ(files.Find(id), nullptr);
  }
  EXPECT_EQ(files.size(), 0u);
  const FileId now = Open(files);
  for (FileId id : seen) EXPECT_EQ(files.Find(id), nullptr);
  EXPECT_NE(files.Find(now), nullptr);
}

TEST(FileTableTest, NoneIsNeverGivenOutEvenWhenGenerationsWrapAround) {
  FileTable files;
  for (uint32_t i = 0; i < (1u << 20) + 2; ++i) {
    const FileId id = files.Reserve(kCtl, kProcess)->id;
    ASSERT_NE(id, FileId::kNone);
    files.Remove(id);
  }
}

TEST(FileTableTest, AFullTableRefusesUntilOneIsRemoved) {
  FileTable files;
  std::vector<FileId> ids;
  for (uint32_t i = 0; i < kFilesPerGuestMax; ++i) ids.push_back(Open(files));
  EXPECT_EQ(std::set<FileId>(ids.begin(), ids.end()).size(), kFilesPerGuestMax);
  EXPECT_EQ(files.Reserve(kCtl, kProcess), nullptr);
  EXPECT_EQ(files.size(), kFilesPerGuestMax);
  files.Remove(ids[17]);
  EXPECT_NE(files.Reserve(kCtl, kProcess), nullptr);
  EXPECT_EQ(files.Reserve(kCtl, kProcess), nullptr);
  for (FileId id : ids) EXPECT_EQ(files.Find(id) == nullptr, id == ids[17]);
}

TEST(FileTableTest, RemovingWhatIsNotThereDoesNothing) {
  FileTable files;
  const FileId id = Open(files);
  files.Remove(FileId::kNone);
  files.Remove(FileId{0xffffffff});
  EXPECT_EQ(files.size(), 1u);
  files.Remove(id);
  files.Remove(id);
  EXPECT_EQ(files.size(), 0u);
}

TEST(FileTableTest, OnlyHoldersNameAFile) {
  FileTable files;
  const FileId id = Open(files);
  EXPECT_NE(files.FindHeldBy(id, kProcess), nullptr);
  EXPECT_EQ(files.FindHeldBy(id, kOther), nullptr);
  files.Find(id)->holders.insert(kOther);
  EXPECT_NE(files.FindHeldBy(id, kOther), nullptr);
}

TEST(FileTableTest, NobodyNamesAFileThatTheDriverHasNotOpenedYet) {
  FileTable files;
  const FileId id = files.Reserve(kCtl, kProcess)->id;
  EXPECT_EQ(files.FindHeldBy(id, kProcess), nullptr);
  files.Find(id)->driver_file = 1;
  EXPECT_NE(files.FindHeldBy(id, kProcess), nullptr);
}

TEST(FileTableTest, NobodyNamesAFileWhoseLastDescriptorIsClosed) {
  FileTable files;
  const FileId id = Open(files);
  files.Find(id)->hung_up = true;
  EXPECT_EQ(files.FindHeldBy(id, kProcess), nullptr);
}

TEST(FileTableTest, AForgottenProcessHoldsNothingAndTheFilesStay) {
  FileTable files;
  const FileId both = Open(files);
  files.Find(both)->holders.insert(kOther);
  const FileId mine = Open(files);
  files.ForgetProcess(kProcess);
  EXPECT_EQ(files.FindHeldBy(both, kProcess), nullptr);
  EXPECT_EQ(files.FindHeldBy(mine, kProcess), nullptr);
  EXPECT_NE(files.FindHeldBy(both, kOther), nullptr);
  EXPECT_EQ(files.size(), 2u);
}

TEST(FileTableTest, AFileInheritsNothingFromItsPredecessor) {
  FileTable files;
  const FileId old_id = Open(files);
  File* old_file = files.Find(old_id);
  old_file->holders.insert(kOther);
  old_file->registered_ctl = old_id;
  old_file->hung_up = true;
  old_file->calls_in_flight = 3;
  files.Remove(old_id);
  const File* next = files.Find(files.Reserve(kCtl, kProcess)->id);
  EXPECT_EQ(next->holders.size(), 1u);
  EXPECT_EQ(next->registered_ctl, FileId::kNone);
  EXPECT_EQ(next->driver_file, 0u);
  EXPECT_EQ(next->calls_in_flight, 0u);
  EXPECT_FALSE(next->hung_up);
}

}  // namespace
}  // namespace nvshim::broker
