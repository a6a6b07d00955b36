#include "broker/supervisor/control_server.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <utility>

#include "broker/io/socket.h"
#include "broker/supervisor/control_reply.h"

namespace nvshim::broker {
namespace {

constexpr mode_t kSocketMode = 0600;

}  // namespace

ControlServer::~ControlServer() {
  if (!path_.empty()) unlink(path_.c_str());
}

absl::Status ControlServer::Bind(const std::string& path) {
  auto listener = Listen(path, kSocketMode);
  if (!listener.ok()) return listener.status();
  listener_ = *std::move(listener);
  path_ = path;
  return absl::OkStatus();
}

void ControlServer::Start() { loop_->Poll(listener_.get(), POLLIN, {listener_tag_, 0}); }

void ControlServer::Complete(const Completion& completion) {
  if (completion.tag.kind == listener_tag_) {
    if (!completion.more) loop_->Poll(listener_.get(), POLLIN, completion.tag);
    return OnListener();
  }
  OnClient(completion.tag.index);
  const auto it = clients_.find(completion.tag.index);
  if (!completion.more && it != clients_.end())
    loop_->Poll(it->second.socket.get(), POLLIN | POLLRDHUP, completion.tag);
}

void ControlServer::OnListener() {
  for (;;) {
    Fd client = Accept(listener_.get());
    if (!client.valid()) return;
    if (!MakeRoom()) continue;
    const uint32_t index = next_++;
    loop_->Poll(client.get(), POLLIN | POLLRDHUP, {client_tag_, index});
    clients_[index].socket = std::move(client);
  }
}

bool ControlServer::MakeRoom() {
  if (clients_.size() < kClientsMax) return true;
  const auto silent =
      std::find_if(clients_.begin(), clients_.end(), [](const auto& entry) { return !entry.second.waits; });
  if (silent == clients_.end()) return false;
  Drop(silent->first);
  return true;
}

void ControlServer::Drop(uint32_t index) {
  loop_->Cancel({client_tag_, index});
  loop_->Submit(false);  // before the descriptor's number can mean something else
  clients_.erase(index);
}

void ControlServer::OnClient(uint32_t index) {
  const auto it = clients_.find(index);
  if (it == clients_.end()) return;
  std::array<char, kRequestSizeBytesMax> bytes;
  const ssize_t received = Receive(it->second.socket.get(), bytes);
  if (received == kNothingWaits) return;
  ControlRequest request;
  if (received <= 0 || it->second.waits || !request.ParseFromArray(bytes.data(), static_cast<int>(received)))
    return Drop(index);
  it->second.waits = true;
  on_request_(index, request);
}

std::optional<uid_t> ControlServer::UidOf(uint32_t client) const {
  const auto it = clients_.find(client);
  if (it == clients_.end()) return std::nullopt;
  const auto peer = PeerOf(it->second.socket.get());
  return peer.ok() ? std::optional(peer->uid) : std::nullopt;
}

void ControlServer::Answer(uint32_t client, const ControlReply& reply) {
  const auto it = clients_.find(client);
  if (it == clients_.end()) return;
  it->second.waits = false;
  if (!SendReply(it->second.socket.get(), reply)) Drop(client);
}

}  // namespace nvshim::broker
