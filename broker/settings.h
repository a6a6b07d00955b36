// Where options come from that the command line does not give: the environment, then configuration files,
// then the default. A setting has the name of its option without the dashes, so what can be said in one place
// can be said in all. One thread.
#ifndef BROKER_SETTINGS_H_
#define BROKER_SETTINGS_H_

#include <CLI/CLI.hpp>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace nvshim::broker {

struct Setting {
  std::string name;                 // "mem-quota"
  std::vector<std::string> values;  // one, or those of a list
  std::string where;                // for complaints: "FILE:LINE", or the name of a variable
};

// The file `path`, and the files PATH.d/*.toml in the order of their names. With `may_be_missing` no file is
// no error.
absl::StatusOr<std::vector<std::string>> FindConfigFiles(const std::string& path, bool may_be_missing);

// The settings of these files; where two set the same, the last one counts. Files are TOML: keys with a
// string, a number, a boolean or a list of these.
absl::StatusOr<std::vector<Setting>> ReadConfigFiles(const std::vector<std::string>& paths);

// Gives each option of `app` that has no value yet, and that is configurable, the first of: the variable
// GPU_BROKER_NAME (of --some-name: GPU_BROKER_SOME_NAME), the setting of `files`. The error says where the
// value stands and what would be right there.
absl::Status ApplySettings(CLI::App& app, const std::vector<Setting>& files,
                           const std::function<const char*(const char*)>& environment);

}  // namespace nvshim::broker

#endif  // BROKER_SETTINGS_H_
