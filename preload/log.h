// One line on stderr for the person who asked with NVSHIM_LOG=1, and silence for everybody else. Written with
// one write(2): no stdio, no allocation, safe wherever the rest of the library is.
#ifndef PRELOAD_LOG_H_
#define PRELOAD_LOG_H_

#include <atomic>
#include <cstdint>
#include <initializer_list>
#include <string_view>

namespace nvshim::preload {

// True when the host's environment has NVSHIM_LOG set to something other than "" and "0" and the process is
// not privileged by set-uid.
bool LogWanted();

// Writes "nvshim: " and the parts, cut at 512 bytes; control characters are replaced.
void Log(std::initializer_list<std::string_view> parts);

// Log, the first time that it is asked for with `told`: what programs try again and again is told once.
void LogOnce(std::atomic<bool>& told, std::initializer_list<std::string_view> parts);

// The digits of a number, for Log. The view lives as long as the object.
class Decimal {
 public:
  explicit Decimal(int64_t value);
  operator std::string_view() const { return {digits_ + begin_, sizeof(digits_) - begin_}; }  // NOLINT

 private:
  char digits_[20];
  size_t begin_;
};

}  // namespace nvshim::preload

#endif  // PRELOAD_LOG_H_
