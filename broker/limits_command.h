// The parts of the command line that are about limits: the options that set them, and `gpu-broker limits`,
// which prints the kinds there are.
#ifndef BROKER_LIMITS_COMMAND_H_
#define BROKER_LIMITS_COMMAND_H_

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "broker/command.h"
#include "broker/core/resource.h"

namespace nvshim::broker {

struct LimitOptions {
  std::vector<std::string> guest;  // KIND=N
  std::vector<std::string> uid;
  uint64_t mem_quota_bytes = 0;
};

// Turns 1GiB, 512MiB, 1073741824 into a number of bytes; KB and KiB are the same. The complaint, if there is
// one.
std::string ToBytes(std::string& size);

struct KindLimit {
  Resource kind;
  uint64_t limit;  // kNoLimit for none
};

// Reads KIND=N, of a guest or, with `is_uid`, of a user, whom what a guest may have does not bound. The error
// says what would be right.
absl::StatusOr<KindLimit> ParseLimit(const std::string& text, bool is_uid);

// That somebody means KIND=N, as a check of an option.
CLI::Validator LimitValidator(bool is_uid);

// --limit, --uid-limit and --mem-quota. `options` must stay where it is until the command line is parsed.
void AddLimitFlags(CLI::App& app, LimitOptions& options);

// What the options come to once they are parsed.
Limits GuestLimits(const LimitOptions& options);
Limits UidLimits(const LimitOptions& options);

// A table to read, a page's table (Markdown), or an array of objects.
std::string LimitsText();
std::string LimitsMarkdown();
std::string LimitsJson();

// Adds the subcommand `limits`. `asked` outlives `app`.
void AddLimitsCommand(CLI::App& app, AskedCommand* asked);

}  // namespace nvshim::broker

#endif  // BROKER_LIMITS_COMMAND_H_
