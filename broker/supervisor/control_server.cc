#include "broker/supervisor/control_server.h"

#include <poll.h>

#include <algorithm>
#include <array>
#include <utility>

#include "broker/io/socket.h"
#include "broker/supervisor/control_reply.h"

namespace nvshim::broker {
namespace {

constexpr mode_t kSocketMode = 0600;
constexpr size_t kMessageSizeBytesMax = 4096;

// Clients that may wait at a time.
constexpr size_t kClientsMax = 16;

}  // namespace

absl::Status ControlServer::Bind(const std::string& path) {
  auto listener = Listen(path, kSocketMode);
  if (!listener.ok()) return listener.status();
  listener_ = *std::move(listener);
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
    if (clients_.size() >= kClientsMax) continue;
    const uint32_t index = next_++;
    loop_->Poll(client.get(), POLLIN | POLLRDHUP, {client_tag_, index});
    clients_[index].socket = std::move(client);
  }
}

void ControlServer::OnClient(uint32_t index) {
  const auto it = clients_.find(index);
  if (it == clients_.end()) return;
  std::array<char, kMessageSizeBytesMax> bytes;
  const ssize_t received = Receive(it->second.socket.get(), bytes);
  if (received == kNothingWaits) return;
  ControlRequest request;
  if (received <= 0 || !request.ParseFromArray(bytes.data(), static_cast<int>(received)) ||
      !request.has_statistics()) {
    loop_->Cancel({client_tag_, index});
    loop_->Submit(false);  // before the descriptor's number can mean something else
    clients_.erase(it);
    return;
  }
  it->second.waits = true;
  on_statistics_();
}

bool ControlServer::statistics_wanted() const {
  return std::any_of(clients_.begin(), clients_.end(), [](const auto& entry) { return entry.second.waits; });
}

void ControlServer::Answer(const BrokerStatistics& statistics) {
  ControlReply reply;
  *reply.mutable_statistics() = statistics;
  for (auto& [index, client] : clients_)
    if (std::exchange(client.waits, false)) SendReply(client.socket.get(), reply);
}

}  // namespace nvshim::broker
