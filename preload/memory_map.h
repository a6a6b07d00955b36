// What lies where in this process: /proc/self/maps, read line by line with raw system calls into a small
// buffer. Nothing is allocated, any thread. While it is read other threads may change it; what was read is
// what held at some moment.
#ifndef PRELOAD_MEMORY_MAP_H_
#define PRELOAD_MEMORY_MAP_H_

#include <cstddef>
#include <cstdint>

namespace nvshim::preload {

enum class MappingKind : uint8_t {
  kAnonymous,        // private memory of no file: heaps, mmap, thread stacks
  kSharedAnonymous,  // MAP_SHARED | MAP_ANONYMOUS
  kOther,            // files, devices, huge pages, the main stack, the kernel's own
};

struct Mapping {
  uint64_t begin = 0, end = 0;
  int protection = 0;  // PROT_*
  bool shared = false;
  MappingKind kind = MappingKind::kOther;
  uint64_t offset = 0, inode = 0;  // of the file at `begin`; inode 0: of none
};

// One line, without its newline; as much of a long path as there is. False for what is no such line.
bool ParseMapping(const char* line, Mapping* mapping);

class MapReader {
 public:
  MapReader();
  ~MapReader();
  MapReader(const MapReader&) = delete;
  MapReader& operator=(const MapReader&) = delete;

  // The next mapping upwards; false after the last one, and when there is no /proc.
  bool Next(Mapping* mapping);

 private:
  bool ReadLine(char* line, size_t size_bytes);
  bool Fill();

  const int fd_;
  char buffer_[1024];
  size_t at_ = 0, end_ = 0;
};

}  // namespace nvshim::preload

#endif  // PRELOAD_MEMORY_MAP_H_
