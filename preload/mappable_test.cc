#include "preload/mappable.h"

#include <fcntl.h>
#include <unistd.h>

#include <vector>

#include "gtest/gtest.h"

namespace nvshim::preload {
namespace {

int Open() { return open("/dev/null", O_RDONLY | O_CLOEXEC); }
bool IsOpen(int fd) { return fcntl(fd, F_GETFD) >= 0; }

TEST(MappableTest, AFileHasWhatWasKeptLast) {
  MappableFiles files;
  EXPECT_EQ(files.Find(7), -1);
  const int first = Open(), second = Open();
  files.Keep(7, first);
  EXPECT_EQ(files.Find(7), first);
  files.Keep(7, second);
  EXPECT_EQ(files.Find(7), second);
  EXPECT_FALSE(IsOpen(first)) << "nobody can reach it any more";
  files.Drop(7);
  EXPECT_EQ(files.Find(7), -1);
  EXPECT_FALSE(IsOpen(second));
}

TEST(MappableTest, FilesDoNotMix) {
  MappableFiles files;
  const int of_1 = Open(), of_2 = Open();
  files.Keep(1, of_1);
  files.Keep(2, of_2);
  files.Drop(1);
  EXPECT_EQ(files.Find(2), of_2);
  EXPECT_TRUE(IsOpen(of_2));
  files.DropAll();
  EXPECT_FALSE(IsOpen(of_2));
}

TEST(MappableTest, WhatFindsNoRoomIsClosed) {
  MappableFiles files;
  for (int i = 0; i < MappableFiles::kSlots; ++i) files.Keep(100 + static_cast<uint32_t>(i), Open());
  const int extra = Open();
  files.Keep(5, extra);
  EXPECT_EQ(files.Find(5), -1);
  EXPECT_FALSE(IsOpen(extra));
  files.DropAll();
}

}  // namespace
}  // namespace nvshim::preload
