#include "broker/worker/placeholders.h"

#include <linux/sockios.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <span>

#include "absl/status/status.h"
#include "broker/io/socket.h"
#include "proto/frame.pb.h"

namespace nvshim::broker {
namespace {

// Claims read at one go; a guest that writes faster waits for the next turn and delays only itself.
constexpr int kClaimsPerDrainMax = 256;

// A FileClaim is one small integer.
constexpr size_t kClaimSizeBytesMax = 16;

// A FileSignal: one byte, which says nothing. An empty message would look like a hang-up.
constexpr std::array<char, 1> kSignal = {0};

// "\0nvshim/<instance>/<file>/<class>/<minor>": what getpeername() tells the guest (proto/frame.proto).
bool BindName(int socket, uint64_t instance, FileId file, DeviceNode node) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const int length =
      std::snprintf(address.sun_path + 1, sizeof(address.sun_path) - 1, "nvshim/%016llx/%08x/%u/%u",
                    static_cast<unsigned long long>(instance), static_cast<uint32_t>(file),
                    static_cast<unsigned>(node.device_class), node.minor);
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + static_cast<size_t>(length));
  return bind(socket, reinterpret_cast<sockaddr*>(&address), size) == 0;
}

}  // namespace

absl::StatusOr<Fd> Placeholders::Create(GuestId guest, uint64_t instance, FileId file, DeviceNode node) {
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
    return absl::ErrnoToStatus(errno, "socketpair");
  Fd ours(pair[0]);
  Fd guests(pair[1]);
  if (!BindName(ours.get(), instance, file, node)) return absl::ErrnoToStatus(errno, "naming a placeholder");
  while (entries_.contains(next_index_)) ++next_index_;
  const uint32_t index = next_index_++;
  loop_->Poll(ours.get(), POLLIN | POLLRDHUP, {kind_, index});
  entries_.emplace(index, Entry{guest, file, std::move(ours)});
  index_of_[KeyOf(guest, file)] = index;
  return guests;
}

void Placeholders::Close(GuestId guest, FileId file) {
  const auto it = index_of_.find(KeyOf(guest, file));
  if (it == index_of_.end()) return;
  loop_->Cancel({kind_, it->second});
  loop_->Submit(false);  // before the descriptor's number can mean something else
  entries_.erase(it->second);
  index_of_.erase(it);
}

void Placeholders::Signal(GuestId guest, FileId file) {
  const auto it = index_of_.find(KeyOf(guest, file));
  if (it == index_of_.end()) return;
  const int socket = entries_.at(it->second).socket.get();
  int unread = 0;
  if (ioctl(socket, SIOCOUTQ, &unread) == 0 && unread == 0) Send(socket, kSignal);
}

std::vector<FileId> Placeholders::FilesOf(GuestId guest) const {
  std::vector<FileId> files;
  for (const auto& [index, entry] : entries_)
    if (entry.guest == guest) files.push_back(entry.file);
  return files;
}

void Placeholders::Drain(GuestId guest, FileId file, const OnClaim& on_claim, const OnHangUp& on_hang_up) {
  const auto it = index_of_.find(KeyOf(guest, file));
  if (it == index_of_.end()) return;
  // The descriptor stays open while callbacks run: only Close drops it, and nothing calls Close in between.
  const int socket = entries_.at(it->second).socket.get();
  std::array<char, kClaimSizeBytesMax> bytes;
  for (int i = 0; i < kClaimsPerDrainMax; ++i) {
    const ssize_t received = Receive(socket, bytes);
    if (received == kPeerGone) return on_hang_up(guest, file);
    if (received == kNothingWaits) return;
    FileClaim claim;
    if (received > 0 && claim.ParseFromArray(bytes.data(), static_cast<int>(received)))
      on_claim(guest, file, claim.process_id());
  }
}

void Placeholders::Complete(const Completion& completion, const OnClaim& on_claim,
                            const OnHangUp& on_hang_up) {
  const auto it = entries_.find(completion.tag.index);
  if (it == entries_.end()) return;  // closed meanwhile
  const GuestId guest = it->second.guest;
  const FileId file = it->second.file;
  if (!completion.more) loop_->Poll(it->second.socket.get(), POLLIN | POLLRDHUP, completion.tag);
  Drain(guest, file, on_claim, on_hang_up);
}

}  // namespace nvshim::broker
