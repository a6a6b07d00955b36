#include "preload/filters.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/prctl.h>

#include <cstdint>

#include "preload/syscalls.h"

namespace nvshim::preload {

namespace {

constexpr uint64_t kUnknown = ~uint64_t{0};

// The line of /proc/<pid>/status, since Linux 5.9. It is not the first.
constexpr char kLine[] = "\nSeccomp_filters:\t";

bool AddDigit(char c, uint64_t* number) {
  if (c < '0' || c > '9') return false;
  *number = *number * 10 + static_cast<uint64_t>(c - '0');
  return true;
}

uint64_t KnownFilters() {
  uint64_t known = 0;
  const char* text = secure_getenv("NVSHIM_FILTERS");
  while (text != nullptr && AddDigit(*text, &known)) ++text;
  return known;
}

uint64_t ReadFilters(int status_fd) {
  char buffer[512];
  size_t matched = 0;
  uint64_t filters = 0;
  for (;;) {
    const long size_bytes = Syscall(SYS_read, status_fd, buffer, sizeof(buffer));
    if (size_bytes <= 0) return kUnknown;
    for (long at = 0; at < size_bytes; ++at) {
      const char c = buffer[at];
      if (matched < sizeof(kLine) - 1)
        matched = c == kLine[matched] ? matched + 1 : c == kLine[0];  // which is nowhere else in it
      else if (!AddDigit(c, &filters))
        return filters;
    }
  }
}

// A filter is a thread's own.
uint64_t Filters() {
  const long fd = Syscall(SYS_openat, AT_FDCWD, "/proc/thread-self/status", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return kUnknown;
  const uint64_t filters = ReadFilters(static_cast<int>(fd));
  CloseFd(static_cast<int>(fd));
  return filters;
}

}  // namespace

bool IsFiltered() { return Syscall(SYS_prctl, PR_GET_SECCOMP) != 0 && Filters() > KnownFilters(); }

}  // namespace nvshim::preload
