// gpu-brokerctl cdi and gpu-brokerctl seccomp: what container engines are told. No broker is asked.
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <system_error>
#include <vector>

#include "absl/strings/str_cat.h"
#include "broker/ctl/cdi_spec.h"
#include "broker/ctl/seccomp_profile.h"
#include "broker/ctl/subcommands.h"
#include "broker/run/guest_environment.h"

namespace nvshim::broker::ctl {
namespace {

// Where Debian's podman has its own.
constexpr char kDefaultProfile[] = "/usr/share/containers/seccomp.json";

// broker/systemd/gpu-broker-guest@.socket
constexpr char kGuestsFolder[] = "guests";
constexpr char kSocketSuffix[] = ".sock";

// Writes all of it or nothing: engines read such files at any time.
absl::Status WriteFile(const std::string& path, const std::string& text) {
  const std::string draft = path + ".new";
  std::error_code error;
  std::ofstream file(draft, std::ios::trunc);
  file << text;
  file.close();
  if (file) std::filesystem::rename(draft, path, error);
  if (!file || error) return absl::UnavailableError(absl::StrCat(path, " cannot be written"));
  return absl::OkStatus();
}

int PrintOrWrite(const absl::StatusOr<std::string>& text, const std::string& path) {
  if (!text.ok() || path.empty()) return Print(text);
  const absl::Status status = WriteFile(path, *text);
  return status.ok() ? 0 : Fail(status);
}

// ---- cdi --------------------------------------------------------------------------------------------------

struct CdiFlags {
  std::string library;
  std::vector<std::string> guests;
  std::string output;
};

absl::StatusOr<std::string> Library(const std::string& library) {
  std::error_code error;
  if (!library.empty()) return std::filesystem::absolute(library, error).string();
  return FindLibrary(std::filesystem::read_symlink("/proc/self/exe", error));
}

// Those who have a socket of their own.
std::vector<std::string> NamedGuests(const std::string& socket) {
  std::vector<std::string> names;
  std::error_code error;
  const auto folder = std::filesystem::path(socket).parent_path() / kGuestsFolder;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error))
    if (entry.path().extension() == kSocketSuffix) names.push_back(entry.path().stem());
  return names;
}

absl::StatusOr<std::string> Cdi(const CdiFlags& flags, const std::string& socket) {
  auto library = Library(flags.library);
  if (!library.ok()) return library.status();
  CdiOptions options = {.library = *library, .socket = socket, .sockets = {}};
  for (const std::string& name : flags.guests.empty() ? NamedGuests(socket) : flags.guests) {
    auto of_guest = SocketOf(name, socket);
    if (!of_guest.ok()) return of_guest.status();
    options.sockets[name] = *of_guest;
  }
  return CdiSpec(options);
}

// ---- seccomp ----------------------------------------------------------------------------------------------

struct SeccompFlags {
  std::string base = kDefaultProfile;
  std::string output;
};

absl::StatusOr<std::string> Profile(const SeccompFlags& flags) {
  std::ifstream file(flags.base);
  const std::string base(std::istreambuf_iterator<char>(file), {});
  if (!file.is_open())
    return absl::NotFoundError(
        absl::StrCat(flags.base, " cannot be read: --base is the default profile of the container engine"));
  auto profile = ConfinedProfile(base);
  if (!profile.ok())
    return absl::InvalidArgumentError(absl::StrCat(flags.base, ": ", profile.status().message()));
  return profile;
}

}  // namespace

void AddCdi(CLI::App& app, Common* common) {
  auto flags = std::make_shared<CdiFlags>();
  CLI::App* cdi = app.add_subcommand("cdi", "Print a CDI specification: what makes a container a guest");
  cdi->add_option("--guest", flags->guests, "A device for the guest NAME (those that have a socket)")
      ->type_name("NAME");
  cdi->add_option("--library", flags->library, "The libnvshim.so of the host (the installed one)")
      ->type_name("PATH");
  cdi->add_option("--output", flags->output, "Write it to this file, as in /etc/cdi/gpu-broker.json")
      ->type_name("FILE");
  cdi->callback(
      [=] { common->asked.run = [=] { return PrintOrWrite(Cdi(*flags, common->socket), flags->output); }; });
}

void AddSeccomp(CLI::App& app, Common* common) {
  auto flags = std::make_shared<SeccompFlags>();
  CLI::App* seccomp =
      app.add_subcommand("seccomp", "Print a seccomp profile for containers: no ioctls of NVIDIA's");
  seccomp->add_option("--base", flags->base, "The profile that is to be confined: the engine's default")
      ->type_name("FILE")
      ->capture_default_str();
  seccomp->add_option("--output", flags->output, "Write it to this file")->type_name("FILE");
  seccomp->callback(
      [=] { common->asked.run = [=] { return PrintOrWrite(Profile(*flags), flags->output); }; });
}

}  // namespace nvshim::broker::ctl
