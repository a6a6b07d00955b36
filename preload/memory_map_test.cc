#include "preload/memory_map.h"

#include <sys/mman.h>

#include <cstring>

#include "gtest/gtest.h"

namespace nvshim::preload {
namespace {

Mapping Parse(const char* line) {
  Mapping mapping;
  EXPECT_TRUE(ParseMapping(line, &mapping)) << line;
  return mapping;
}

TEST(MemoryMapTest, ALineIsTakenApart) {
  const Mapping mapping = Parse("7f0000001000-7f0000003000 rw-s 00005000 00:01 123456    /memfd:x (deleted)");
  EXPECT_EQ(mapping.begin, 0x7f0000001000u);
  EXPECT_EQ(mapping.end, 0x7f0000003000u);
  EXPECT_EQ(mapping.protection, PROT_READ | PROT_WRITE);
  EXPECT_TRUE(mapping.shared);
  EXPECT_EQ(mapping.offset, 0x5000u);
  EXPECT_EQ(mapping.inode, 123456u);
  EXPECT_EQ(mapping.kind, MappingKind::kOther);
}

TEST(MemoryMapTest, PrivateMemoryOfNoFileIsAnonymousWhateverTheProgramCallsIt) {
  for (const char* line : {"1000-2000 rw-p 00000000 00:00 0 ", "1000-2000 rw-p 00000000 00:00 0",
                           "1000-2000 r--p 00000000 00:00 0          [heap]",
                           "1000-2000 rw-p 00000000 00:00 0          [anon: glibc: malloc]"})
    EXPECT_EQ(Parse(line).kind, MappingKind::kAnonymous) << line;
  for (const char* line :
       {"1000-2000 rw-p 00000000 00:00 0          [stack]", "1000-2000 r-xp 00000000 00:00 0          [vdso]",
        "1000-2000 rw-p 00000000 00:00 0          [anon: glibc: pthread stack: 12]",
        "1000-2000 rw-p 00000000 00:0f 77         /anon_hugepage (deleted)",
        "1000-2000 rw-p 00001000 fe:00 77         /usr/lib/libc.so.6"})
    EXPECT_EQ(Parse(line).kind, MappingKind::kOther) << line;
}

TEST(MemoryMapTest, SharedMemoryOfNoFileIsTold) {
  EXPECT_EQ(Parse("1000-2000 rw-s 00000000 00:01 5  /dev/zero (deleted)").kind,
            MappingKind::kSharedAnonymous);
  EXPECT_EQ(Parse("1000-2000 rw-s 00000000 00:01 5  [anon_shmem:mine]").kind, MappingKind::kSharedAnonymous);
  EXPECT_EQ(Parse("1000-2000 rw-s 00000000 00:15 5  /dev/shm/x").kind, MappingKind::kOther);
}

TEST(MemoryMapTest, OtherTextIsNoLine) {
  Mapping mapping;
  for (const char* line : {"", "1000", "1000-2000", "1000-2000 rw", "1000-2000 rw-p ", "-2000 rw-p 0 00:00 0",
                           "1000-2000 rw-p 00000000 00:00 x", "1000-2000 rw-p 00000000 0000 0"})
    EXPECT_FALSE(ParseMapping(line, &mapping)) << line;
}

TEST(MemoryMapTest, TheReaderFindsThisProgramsMemoryInOrder) {
  const auto page =
      reinterpret_cast<uint64_t>(mmap(nullptr, 8192, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  MapReader reader;
  Mapping mapping;
  uint64_t before = 0;
  bool found = false;
  while (reader.Next(&mapping)) {
    EXPECT_LE(before, mapping.begin);
    EXPECT_LT(mapping.begin, mapping.end);
    before = mapping.end;
    found |= mapping.begin == page && mapping.end == page + 8192 &&
             mapping.kind == MappingKind::kSharedAnonymous && mapping.protection == PROT_READ;
  }
  EXPECT_TRUE(found);
  munmap(reinterpret_cast<void*>(page), 8192);
}

}  // namespace
}  // namespace nvshim::preload
