#include "preload/memory_map.h"

#include <fcntl.h>
#include <sys/mman.h>

#include <cstring>

#include "preload/syscalls.h"

namespace nvshim::preload {

namespace {

int DigitOf(char c) { return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : 99; }

// Reads a number and the character behind it; false when it is another than `end`.
bool ReadNumber(const char** at, int base, char end, uint64_t* value) {
  *value = 0;
  const char* const start = *at;
  for (; DigitOf(**at) < base; ++*at) *value = *value * base + static_cast<uint64_t>(DigitOf(**at));
  if (*at == start || **at != end) return false;
  if (end != '\0') ++*at;
  return true;
}

bool StartsWith(const char* text, const char* prefix) {
  return std::strncmp(text, prefix, std::strlen(prefix)) == 0;
}

MappingKind KindOf(bool shared, uint64_t inode, const char* name) {
  if (shared) {
    // The kernel's name for the file behind it, or the one that the program gave it (PR_SET_VMA_ANON_NAME).
    const bool anonymous = std::strcmp(name, "/dev/zero (deleted)") == 0 || StartsWith(name, "[anon_shmem:");
    return anonymous ? MappingKind::kSharedAnonymous : MappingKind::kOther;
  }
  if (inode != 0) return MappingKind::kOther;
  const bool named_by_program = StartsWith(name, "[anon:") && std::strstr(name, "stack") == nullptr;
  return *name == '\0' || std::strcmp(name, "[heap]") == 0 || named_by_program ? MappingKind::kAnonymous
                                                                               : MappingKind::kOther;
}

}  // namespace

// "7f12000-7f13000 rw-p 00000000 00:00 0      [heap]"
bool ParseMapping(const char* line, Mapping* mapping) {
  *mapping = {};
  if (!ReadNumber(&line, 16, '-', &mapping->begin) || !ReadNumber(&line, 16, ' ', &mapping->end))
    return false;
  if (std::strlen(line) < 5 || line[4] != ' ') return false;
  mapping->protection =
      (line[0] == 'r' ? PROT_READ : 0) | (line[1] == 'w' ? PROT_WRITE : 0) | (line[2] == 'x' ? PROT_EXEC : 0);
  mapping->shared = line[3] == 's';
  line += 5;
  uint64_t device;
  if (!ReadNumber(&line, 16, ' ', &mapping->offset) || !ReadNumber(&line, 16, ':', &device) ||
      !ReadNumber(&line, 16, ' ', &device))
    return false;
  const char* name = line;
  while (DigitOf(*name) < 10) ++name;
  const char end = *name;
  if (!ReadNumber(&line, 10, end, &mapping->inode) || (end != ' ' && end != '\0')) return false;
  while (*name == ' ') ++name;
  mapping->kind = KindOf(mapping->shared, mapping->inode, name);
  return true;
}

MapReader::MapReader()
    : fd_(static_cast<int>(Syscall(SYS_openat, AT_FDCWD, "/proc/self/maps", O_RDONLY | O_CLOEXEC))) {}

MapReader::~MapReader() {
  if (fd_ >= 0) CloseFd(fd_);
}

bool MapReader::Next(Mapping* mapping) {
  char line[128];  // numbers take less than 80 bytes, the names that matter less than 30
  return ReadLine(line, sizeof(line)) && ParseMapping(line, mapping);
}

bool MapReader::ReadLine(char* line, size_t size_bytes) {
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

bool MapReader::Fill() {
  if (fd_ < 0) return false;
  const long read = Syscall(SYS_read, fd_, buffer_, sizeof(buffer_));
  at_ = 0;
  end_ = read > 0 ? static_cast<size_t>(read) : 0;
  return read > 0;
}

}  // namespace nvshim::preload
