#include "broker/supervisor/guest_identity.h"

#include <poll.h>

#include <fstream>
#include <sstream>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace nvshim::broker {
namespace {

// A pidfd becomes readable when its process has exited.
bool HasExited(const Peer& peer) {
  pollfd entry{peer.pidfd.get(), POLLIN, 0};
  return peer.pidfd.valid() && poll(&entry, 1, 0) == 1;
}

constexpr char kNameStart[] = "uid ";

}  // namespace

std::string CgroupIn(const std::string& proc_pid_cgroup) {
  std::istringstream lines(proc_pid_cgroup);
  std::string first;
  for (std::string line; std::getline(lines, line);) {
    const size_t colon = line.find(':', line.find(':') + 1);
    if (colon == std::string::npos) continue;
    const std::string path = line.substr(colon + 1);
    if (line.rfind("0::", 0) == 0) return path;
    if (first.empty()) first = path;
  }
  return first;
}

absl::StatusOr<std::string> GuestNameOf(const Peer& peer) {
  std::ifstream file(absl::StrCat("/proc/", peer.pid, "/cgroup"));
  std::stringstream text;
  text << file.rdbuf();
  // Asked after reading: the number meant the peer for as long as the peer lived.
  if (HasExited(peer)) return absl::NotFoundError("the peer has exited");
  return absl::StrCat(kNameStart, peer.uid, " ", CgroupIn(text.str()));
}

std::optional<uid_t> UidIn(const std::string& guest_name) {
  absl::string_view rest = guest_name;
  uid_t uid = 0;
  if (!absl::ConsumePrefix(&rest, kNameStart) || !absl::SimpleAtoi(rest.substr(0, rest.find(' ')), &uid))
    return std::nullopt;
  return uid;
}

}  // namespace nvshim::broker
