#include "broker/command.h"

#include <cerrno>
#include <cstdio>

namespace nvshim::broker {

int Fail(const absl::Status& status) {
  std::fprintf(stderr, "%s: %s\n", program_invocation_short_name, std::string(status.message()).c_str());
  return 1;
}

int Print(const absl::StatusOr<std::string>& text) {
  if (!text.ok()) return Fail(text.status());
  return std::fputs(text->c_str(), stdout) < 0 || std::fflush(stdout) != 0;
}

}  // namespace nvshim::broker
