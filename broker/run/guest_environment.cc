#include "broker/run/guest_environment.h"

#include <cstdint>
#include <filesystem>
#include <system_error>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace nvshim::broker {
namespace {

constexpr char kLibrary[] = "libnvshim.so";

// broker/systemd/gpu-broker-guest@.socket
constexpr char kGuestsFolder[] = "guests";

// From the folder of nvshim-run.
constexpr const char* kLibraryFolders[] = {".", "../lib", "../lib/x86_64-linux-gnu", "../lib/nvshim"};

}  // namespace

absl::StatusOr<std::string> PreloadOf(const std::string& library, const std::string& current) {
  if (library.find_first_of(" :") != std::string::npos)
    return absl::InvalidArgumentError(
        absl::StrCat("LD_PRELOAD cannot name '", library, "', which has a blank or a colon in it"));
  return current.empty() ? library : absl::StrCat(library, ":", current);
}

absl::StatusOr<std::string> SocketOf(const std::string& name, const std::string& socket) {
  if (name.empty()) return socket;
  if (name.find('/') != std::string::npos)
    return absl::InvalidArgumentError(absl::StrCat("'", name, "' is no name of a guest"));
  const auto folder = std::filesystem::path(socket).parent_path();
  const auto of_unit = folder / kGuestsFolder / (name + ".sock");
  std::error_code error;
  return (std::filesystem::exists(of_unit, error) ? of_unit : folder / (name + ".sock")).string();
}

std::string FiltersOf(const std::string& current) {
  uint32_t filters = 0;
  return absl::StrCat(absl::SimpleAtoi(current, &filters) ? filters + 1 : 1);
}

absl::StatusOr<std::string> FindLibrary(const std::string& binary) {
  const std::filesystem::path folder = std::filesystem::path(binary).parent_path();
  for (const char* place : kLibraryFolders) {
    const auto library = (folder / place / kLibrary).lexically_normal();
    std::error_code error;
    if (std::filesystem::exists(library, error)) return library.string();
  }
  return absl::NotFoundError(
      absl::StrCat(kLibrary, " is not in ", folder.string(), " nor in ../lib; --library says where it is"));
}

}  // namespace nvshim::broker
