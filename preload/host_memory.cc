// /proc/self/maps is read with raw system calls into a small buffer, line by line; nothing is allocated.
#include "preload/host_memory.h"

#include <fcntl.h>
#include <sys/mman.h>

#include <cstring>

#include "preload/syscalls.h"

namespace nvshim::preload {

namespace {

constexpr uint64_t kPageBytes = 4096;

// One line of /proc/self/maps, as far as it matters.
struct MapLine {
  uint64_t begin = 0, end = 0;
  bool plain = false;  // readable and writable, of no file and without a name
};

uint64_t ReadHex(const char** at) {
  uint64_t value = 0;
  for (;; ++*at) {
    const char c = **at;
    const int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
    if (digit < 0) return value;
    value = value * 16 + static_cast<uint64_t>(digit);
  }
}

// "7f12-7f13 rw-p 00000000 00:00 0 [heap]", NUL at the end.
MapLine ParseLine(const char* line) {
  MapLine result;
  result.begin = ReadHex(&line);
  if (*line++ != '-') return {};
  result.end = ReadHex(&line);
  constexpr char kPrivate[] = " rw-p 00000000 00:00 0";
  if (std::strncmp(line, kPrivate, sizeof(kPrivate) - 1) == 0) {
    line += sizeof(kPrivate) - 1;
    while (*line == ' ') ++line;
    result.plain = *line == '\0';
  } else if (std::strncmp(line, " rw-s ", 6) == 0) {
    // Shared memory without a file has this name; libcuda's own buffers are such.
    result.plain = std::strstr(line, " /dev/zero (deleted)") != nullptr;
  }
  return result;
}

// Reads lines of a file descriptor. Longer ones than the buffer (paths) are cut.
class LineReader {
 public:
  explicit LineReader(int fd) : fd_(fd) {}

  bool Next(char* line, size_t size_bytes) {
    size_t length = 0;
    for (;;) {
      if (at_ == end_ && !Fill()) return false;
      const char c = buffer_[at_++];
      if (c == '\n') break;
      if (length + 1 < size_bytes) line[length++] = c;
    }
    line[length] = '\0';
    return true;
  }

 private:
  bool Fill() {
    const long read = Syscall(SYS_read, fd_, buffer_, sizeof(buffer_));
    at_ = 0;
    end_ = read > 0 ? static_cast<size_t>(read) : 0;
    return read > 0;
  }

  const int fd_;
  char buffer_[1024];
  size_t at_ = 0, end_ = 0;
};

bool WriteAll(int fd, uint64_t address, uint64_t size_bytes) {
  for (uint64_t done = 0; done < size_bytes;) {
    const long written = Syscall(SYS_pwrite64, fd, address + done, size_bytes - done, done);
    if (written <= 0) return false;
    done += static_cast<uint64_t>(written);
  }
  return true;
}

}  // namespace

bool CanShare(uint64_t address, uint64_t size_bytes) {
  if (size_bytes == 0 || (address | size_bytes) % kPageBytes != 0 || address + size_bytes < address)
    return false;
  const long fd = Syscall(SYS_openat, AT_FDCWD, "/proc/self/maps", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  LineReader reader(static_cast<int>(fd));
  char line[128];
  uint64_t covered = address;  // everything below is known to be plain
  while (covered < address + size_bytes && reader.Next(line, sizeof(line))) {
    const MapLine map = ParseLine(line);
    if (map.end <= covered) continue;
    if (map.begin > covered || !map.plain) break;
    covered = map.end;
  }
  CloseFd(static_cast<int>(fd));
  return covered >= address + size_bytes;
}

bool ShareAs(uint64_t address, uint64_t size_bytes, int fd) {
  if (!WriteAll(fd, address, size_bytes)) return false;
  const long mapped =
      Syscall(SYS_mmap, address, size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0);
  return mapped == static_cast<long>(address);
}

}  // namespace nvshim::preload
