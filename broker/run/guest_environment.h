// What nvshim-run puts into the environment of the program that it starts (preload/README.md has the
// variables), and where it finds the shim. No system calls but those that look for files.
#ifndef BROKER_RUN_GUEST_ENVIRONMENT_H_
#define BROKER_RUN_GUEST_ENVIRONMENT_H_

#include <string>

#include "absl/status/statusor.h"

namespace nvshim::broker {

// LD_PRELOAD with `library`, an absolute path, before what `current` has. The dynamic linker takes blanks and
// colons for separators; a path with one of them is refused.
absl::StatusOr<std::string> PreloadOf(const std::string& library, const std::string& current);

// NVSHIM_SOCKET for the guest `name`: beside `socket` guests/NAME.sock, where gpu-broker-guest@NAME.socket
// has it, if that exists, or else NAME.sock; `socket` itself when `name` is empty. Refuses names that are no
// file names.
absl::StatusOr<std::string> SocketOf(const std::string& name, const std::string& socket);

// NVSHIM_FILTERS: one more than `current`, the number of nvshim-run's own filters that the program will be
// under.
std::string FiltersOf(const std::string& current);

// libnvshim.so beside the executable file `binary`, or where it is when that is installed: in ../lib, in the
// folder there of the architecture, as Debian's package has it, or in ../lib/nvshim.
absl::StatusOr<std::string> FindLibrary(const std::string& binary);

}  // namespace nvshim::broker

#endif  // BROKER_RUN_GUEST_ENVIRONMENT_H_
