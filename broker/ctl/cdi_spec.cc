#include "broker/ctl/cdi_spec.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "broker/run/guest_environment.h"

namespace nvshim::broker::ctl {
namespace {

using Json = nlohmann::ordered_json;

// What the library in Debian 12's podman reads; nothing here needs a later one.
constexpr char kCdiVersion[] = "0.5.0";
constexpr char kKind[] = "nvshim.dev/gpu";
constexpr char kDefaultDevice[] = "default";

// The interface's rule for names: these, and letters or digits at both ends.
bool MayBeInName(char c) { return absl::ascii_isalnum(c) || c == '_' || c == '-' || c == '.' || c == ':'; }

bool IsDeviceName(const std::string& name) {
  return !name.empty() && absl::ascii_isalnum(name.front()) && absl::ascii_isalnum(name.back()) &&
         std::all_of(name.begin(), name.end(), MayBeInName);
}

Json ReadOnly(const std::string& path) {
  return {{"hostPath", path}, {"containerPath", path}, {"options", {"ro", "nosuid", "nodev", "bind"}}};
}

Json Device(const std::string& name, const std::string& socket) {
  return {
      {"name", name},
      {"containerEdits",
       {{"env", {absl::StrCat("NVSHIM_SOCKET=", socket)}}, {"mounts", Json::array({ReadOnly(socket)})}}},
  };
}

}  // namespace

absl::StatusOr<std::string> CdiSpec(const CdiOptions& options) {
  if (!options.library.starts_with('/') || !options.socket.starts_with('/'))
    return absl::InvalidArgumentError("a container needs the absolute paths of the library and the socket");
  const auto preload = PreloadOf(options.library, "");
  if (!preload.ok()) return preload.status();
  Json devices = Json::array({Device(kDefaultDevice, options.socket)});
  for (const auto& [name, socket] : options.sockets) {
    if (!IsDeviceName(name) || name == kDefaultDevice)
      return absl::InvalidArgumentError(absl::StrCat(
          "'", name, "' cannot be the name of a device: letters, digits and _-.: inside, not 'default'"));
    devices.push_back(Device(name, socket));
  }
  const Json spec = {
      {"cdiVersion", kCdiVersion},
      {"kind", kKind},
      {"devices", devices},
      {"containerEdits",
       {{"env", {absl::StrCat("LD_PRELOAD=", *preload)}},
        {"mounts", Json::array({ReadOnly(options.library)})}}},
  };
  return spec.dump(2) + "\n";
}

}  // namespace nvshim::broker::ctl
