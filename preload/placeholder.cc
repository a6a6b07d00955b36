#include "preload/placeholder.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstddef>
#include <cstring>

#include "preload/codec.h"
#include "preload/syscalls.h"

namespace nvshim::preload {

namespace {

// A socket holds hundreds of claims and a worker reads them in microseconds; one that has not after this long
// is stuck.
constexpr int64_t kClaimTimeoutNs = 1'000'000'000;
constexpr int kClaimRetryMs = 10;

// Takes text off the front of a name.
class Cursor {
 public:
  explicit Cursor(std::string_view text) : text_(text) {}

  bool Literal(std::string_view literal) {
    if (text_.size() < literal.size() || std::memcmp(text_.data(), literal.data(), literal.size()) != 0)
      return false;
    text_.remove_prefix(literal.size());
    return true;
  }

  // Exactly `digits` lower-case hexadecimal digits.
  bool Hex(size_t digits, uint64_t* value) {
    if (text_.size() < digits) return false;
    *value = 0;
    for (size_t i = 0; i < digits; ++i) {
      const char c = text_[i];
      if (c >= '0' && c <= '9')
        *value = *value << 4 | static_cast<uint64_t>(c - '0');
      else if (c >= 'a' && c <= 'f')
        *value = *value << 4 | static_cast<uint64_t>(c - 'a' + 10);
      else
        return false;
    }
    text_.remove_prefix(digits);
    return true;
  }

  // The decimal number that makes up the rest, at most 9 digits.
  bool DecimalToEnd(uint32_t* value) {
    if (text_.empty() || text_.size() > 9) return false;
    *value = 0;
    for (const char c : text_) {
      if (c < '0' || c > '9') return false;
      *value = *value * 10 + static_cast<uint32_t>(c - '0');
    }
    return true;
  }

 private:
  std::string_view text_;
};

}  // namespace

bool ParsePlaceholder(std::string_view name, Placeholder* placeholder) {
  Cursor cursor(name);
  uint64_t file_id = 0, device_class = 0;
  if (!cursor.Literal("nvshim/") || !cursor.Hex(16, &placeholder->guest_instance)) return false;
  if (!cursor.Literal("/") || !cursor.Hex(8, &file_id)) return false;
  if (!cursor.Literal("/") || !cursor.Hex(1, &device_class)) return false;
  if (!cursor.Literal("/") || !cursor.DecimalToEnd(&placeholder->minor)) return false;
  if (device_class < 1 || device_class > 4 || file_id == 0) return false;
  placeholder->file_id = static_cast<uint32_t>(file_id);
  placeholder->device_class = static_cast<DeviceClass>(device_class);
  return true;
}

bool ReadPlaceholder(int fd, Placeholder* placeholder) {
  sockaddr_un address;
  uint32_t size_bytes = sizeof(address);
  constexpr size_t kPathOffset = offsetof(sockaddr_un, sun_path);
  if (Syscall(SYS_getpeername, fd, &address, &size_bytes) != 0) return false;
  if (size_bytes <= kPathOffset + 1 || size_bytes > sizeof(address)) return false;
  if (address.sun_family != AF_UNIX || address.sun_path[0] != '\0') return false;
  return ParsePlaceholder({address.sun_path + 1, size_bytes - kPathOffset - 1}, placeholder);
}

bool PlaceholderIsDead(int fd) {
  pollfd status = {fd, POLLRDHUP, 0};
  return Syscall(SYS_poll, &status, 1, 0) == 1 && (status.revents & (POLLHUP | POLLRDHUP | POLLERR)) != 0;
}

bool ClaimPlaceholder(int fd, uint32_t process_id) {
  uint8_t bytes[16];
  const size_t size_bytes = EncodeFileClaim(bytes, process_id);
  const int64_t deadline_ns = MonotonicNs() + kClaimTimeoutNs;
  while (true) {
    const long sent = Syscall(SYS_sendto, fd, bytes, size_bytes, MSG_NOSIGNAL | MSG_DONTWAIT, 0, 0);
    if (sent != -EAGAIN && sent != -EINTR) return sent >= 0;
    // Full of claims that the worker has not read yet.
    if (MonotonicNs() > deadline_ns) return false;
    pollfd writable = {fd, POLLOUT, 0};
    Syscall(SYS_poll, &writable, 1, kClaimRetryMs);
  }
}

}  // namespace nvshim::preload
