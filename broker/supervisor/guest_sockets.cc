#include "broker/supervisor/guest_sockets.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "broker/io/socket.h"
#include "broker/supervisor/guest_identity.h"

namespace nvshim::broker {
namespace {

// Guests connect from any uid; who they are decides the kernel, what they get the worker.
constexpr mode_t kSocketMode = 0666;
// Until its owner is right.
constexpr mode_t kNobodysSocketMode = 0600;

// Connections taken per turn before anything else is looked at.
constexpr int kAcceptsPerTurnMax = 64;

std::string PathOf(int socket) {
  sockaddr_un address{};
  socklen_t size = sizeof(address);
  getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size);
  return std::string(address.sun_path, strnlen(address.sun_path, sizeof(address.sun_path)));
}

}  // namespace

GuestSockets::~GuestSockets() {
  for (const auto& [index, listener] : listeners_)
    if (!listener.path.empty()) unlink(listener.path.c_str());
}

void GuestSockets::Add(Listener listener) {
  const uint32_t index = next_++;
  if (started_) loop_->Poll(listener.socket.get(), POLLIN, {tag_, index});
  listeners_.emplace(index, std::move(listener));
}

void GuestSockets::Take(const std::string& guest, Fd socket) { Add({std::move(socket), "", guest}); }

absl::Status GuestSockets::Bind(const std::string& guest, const std::string& path) {
  auto socket = Listen(path, kSocketMode);
  if (socket.ok()) Add({*std::move(socket), path, guest});
  return socket.status();
}

absl::Status GuestSockets::BindLike(const std::string& guest, const std::string& path,
                                    const std::string& like) {
  struct stat wanted;
  if (stat(like.c_str(), &wanted) != 0)
    return absl::ErrnoToStatus(errno, absl::StrCat("cannot look at ", like));
  auto socket = Listen(path, kNobodysSocketMode);
  if (!socket.ok()) return socket.status();
  Listener listener{*std::move(socket), path, guest};
  if (chown(path.c_str(), /*owner=*/static_cast<uid_t>(-1), wanted.st_gid) != 0 ||
      chmod(path.c_str(), wanted.st_mode & 0777) != 0) {
    const absl::Status status =
        absl::ErrnoToStatus(errno, absl::StrCat("cannot give ", path, " the group and the mode of ", like));
    unlink(path.c_str());
    return status;
  }
  Add(std::move(listener));
  return absl::OkStatus();
}

void GuestSockets::Start() {
  started_ = true;
  for (const auto& [index, listener] : listeners_) loop_->Poll(listener.socket.get(), POLLIN, {tag_, index});
}

void GuestSockets::Close(const std::string& guest) {
  const auto it = std::find_if(listeners_.begin(), listeners_.end(),
                               [&](const auto& entry) { return entry.second.guest == guest; });
  if (it == listeners_.end()) return;
  loop_->Cancel({tag_, it->first});
  loop_->Submit(false);  // before the descriptor's number can mean something else
  if (!it->second.path.empty()) unlink(it->second.path.c_str());
  listeners_.erase(it);
}

bool GuestSockets::Has(const std::string& guest) const {
  return std::any_of(listeners_.begin(), listeners_.end(),
                     [&](const auto& entry) { return entry.second.guest == guest; });
}

std::map<std::string, std::string> GuestSockets::Named() const {
  std::map<std::string, std::string> named;
  for (const auto& [index, listener] : listeners_)
    if (!listener.guest.empty()) named.emplace(listener.guest, PathOf(listener.socket.get()));
  return named;
}

void GuestSockets::Complete(const Completion& completion) {
  const auto it = listeners_.find(completion.tag.index);
  if (it == listeners_.end()) return;
  if (!completion.more) loop_->Poll(it->second.socket.get(), POLLIN, completion.tag);
  Accept(completion.tag.index);
}

void GuestSockets::Accept(uint32_t index) {
  const Listener& listener = listeners_.at(index);
  for (int i = 0; i < kAcceptsPerTurnMax; ++i) {
    Fd connection = broker::Accept(listener.socket.get());
    if (!connection.valid()) return;
    auto peer = PeerOf(connection.get());
    if (!peer.ok()) continue;
    if (!listener.guest.empty()) {
      on_connection_(std::move(connection), listener.guest, peer->uid);
      continue;
    }
    auto name = GuestNameOf(*peer);
    if (name.ok()) on_connection_(std::move(connection), *name, peer->uid);
  }
  // More may wait, and a multishot poll tells of new ones only.
  loop_->Cancel({tag_, index});
}

}  // namespace nvshim::broker
