// nvshim-run: starts a program as a guest, under a seccomp filter that refuses NVIDIA's ioctls (filter.h). A
// list of steps, in order, that ends in exec. It runs with the rights of who calls it and guards nothing
// itself: what it installs, the kernel keeps.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>
#include <system_error>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "broker/cli/description.h"
#include "broker/default_socket.h"
#include "broker/run/filter.h"
#include "broker/run/guest_environment.h"

namespace nvshim::broker {
namespace {

// As env(1), nice(1) and timeout(1) end: the program's own status, or one of these.
constexpr int kExitFailed = 125;
constexpr int kExitCannotExecute = 126;
constexpr int kExitNotFound = 127;

struct Flags {
  std::string guest;
  std::string socket;
  std::string library;
};

std::string Variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

absl::Status Set(const char* name, const absl::StatusOr<std::string>& value) {
  if (!value.ok()) return value.status();
  return setenv(name, value->c_str(), 1) == 0 ? absl::OkStatus() : absl::ErrnoToStatus(errno, name);
}

absl::StatusOr<std::string> Library(const Flags& flags) {
  std::error_code error;
  if (flags.library.empty()) {
    const auto binary = std::filesystem::read_symlink("/proc/self/exe", error);
    return error ? absl::InternalError("/proc/self/exe: " + error.message()) : FindLibrary(binary);
  }
  const auto library = std::filesystem::canonical(flags.library, error);
  if (error) return absl::NotFoundError(absl::StrCat("--library ", flags.library, ": ", error.message()));
  return library.string();
}

absl::Status SetPreload(const Flags& flags) {
  const auto library = Library(flags);
  if (!library.ok()) return library.status();
  return Set("LD_PRELOAD", PreloadOf(*library, Variable("LD_PRELOAD")));
}

// Without a flag the variable, or its absence, is as good for the program as it was for us.
absl::Status SetSocket(const Flags& flags) {
  if (flags.guest.empty() && flags.socket.empty()) return absl::OkStatus();
  std::string socket = flags.socket.empty() ? Variable("NVSHIM_SOCKET") : flags.socket;
  if (socket.empty()) socket = kDefaultSocket;
  return Set("NVSHIM_SOCKET", SocketOf(flags.guest, socket));
}

absl::Status SetFilters(const Flags&) { return Set("NVSHIM_FILTERS", FiltersOf(Variable("NVSHIM_FILTERS"))); }

absl::Status SetFilter(const Flags&) { return InstallFilter(); }

constexpr absl::Status (*kSteps[])(const Flags&) = {SetPreload, SetSocket, SetFilters, SetFilter};

int Execute(const std::vector<std::string>& command) {
  std::vector<char*> arguments;
  for (const std::string& argument : command) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  execvp(arguments[0], arguments.data());
  const int error = errno;
  std::fprintf(stderr, "nvshim-run: %s: %s\n", arguments[0], std::strerror(error));
  return error == ENOENT ? kExitNotFound : kExitCannotExecute;
}

int Main(int argc, char** argv) {
  Flags flags;
  CLI::App app("Starts a program as a guest of gpu-broker, unable to make NVIDIA's ioctls by itself.",
               "nvshim-run");
  app.footer("After the options: [--] COMMAND [ARGUMENT]...");
  app.add_option("--guest", flags.guest,
                 "Connect as the guest NAME, at guests/NAME.sock or NAME.sock beside the broker's own socket")
      ->type_name("NAME");
  app.add_option("--socket", flags.socket, "The broker's socket (NVSHIM_SOCKET unless given)")
      ->type_name("PATH");
  app.add_option("--library", flags.library, "The libnvshim.so to preload (the one beside nvshim-run)")
      ->type_name("PATH");
  app.prefix_command();
  AddDescribeFlag(app);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kExitFailed;
  }
  std::vector<std::string> command = app.remaining();
  if (!command.empty() && command.front() == "--") {
    command.erase(command.begin());
  } else if (!command.empty() && command.front().starts_with('-')) {
    std::fprintf(stderr, "nvshim-run: there is no option %s; --help lists them\n", command.front().c_str());
    return kExitFailed;
  }
  if (command.empty()) {
    std::fprintf(stderr, "nvshim-run: no command; --help says how\n");
    return kExitFailed;
  }
  for (const auto step : kSteps)
    if (const absl::Status status = step(flags); !status.ok()) {
      std::fprintf(stderr, "nvshim-run: %s\n", std::string(status.message()).c_str());
      return kExitFailed;
    }
  return Execute(command);
}

}  // namespace
}  // namespace nvshim::broker

int main(int argc, char** argv) { return nvshim::broker::Main(argc, argv); }
