#include "preload/log.h"

#include <stdlib.h>
#include <unistd.h>

#include "preload/guard.h"

namespace nvshim::preload {

namespace {
// Longer than any line written here; the reason of a refusal comes from the broker and is cut.
constexpr size_t kLineSizeBytesMax = 512;
}  // namespace

bool LogWanted() {
  const char* value = secure_getenv("NVSHIM_LOG");
  return value != nullptr && value[0] != '\0' && !(value[0] == '0' && value[1] == '\0');
}

void Log(std::initializer_list<std::string_view> parts) {
  if (!LogWanted()) return;
  char line[kLineSizeBytesMax];
  size_t used = 0;
  const auto append = [&](std::string_view part) {
    for (const char c : part)
      if (used < sizeof(line) - 1) line[used++] = (c >= ' ' && c != 127) ? c : '?';
  };
  append("nvshim: ");
  for (const std::string_view part : parts) append(part);
  line[used++] = '\n';
  Syscall(SYS_write, STDERR_FILENO, line, used);
}

void LogOnce(std::atomic<bool>& told, std::initializer_list<std::string_view> parts) {
  if (!told.exchange(true, std::memory_order_relaxed)) Log(parts);
}

Decimal::Decimal(int64_t value) : begin_(sizeof(digits_)) {
  uint64_t rest = value < 0 ? -static_cast<uint64_t>(value) : static_cast<uint64_t>(value);
  do {
    digits_[--begin_] = static_cast<char>('0' + rest % 10);
    rest /= 10;
  } while (rest != 0);
  if (value < 0) digits_[--begin_] = '-';
}

}  // namespace nvshim::preload
