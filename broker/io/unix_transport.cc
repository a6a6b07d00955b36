// [unsafe] Transport over a Unix socket, a memfd, an eventfd and a futex.
#include <linux/futex.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include <cerrno>
#include <climits>
#include <string>

#include "absl/status/status.h"
#include "broker/io/socket.h"
#include "broker/io/transport.h"

namespace nvshim::broker {
namespace {

class UnixTransport : public Transport {
 public:
  UnixTransport(Fd connection, Region region, Fd doorbell)
      : connection_(std::move(connection)), region_(std::move(region)), doorbell_(std::move(doorbell)) {}

  Region& region() override { return region_; }
  int doorbell() const override { return doorbell_.get(); }
  int channel() const override { return connection_.get(); }

  void SilenceDoorbell() override {
    uint64_t rings = 0;
    const iovec counter{&rings, sizeof(rings)};
    // RWF_NOWAIT, because O_NONBLOCK is the guest's to clear and the counter the guest's to empty.
    [[maybe_unused]] const ssize_t read = preadv2(doorbell_.get(), &counter, 1, -1, RWF_NOWAIT);
  }

  bool SendWelcome(const Welcome& welcome) override {
    ChannelMessage message;
    *message.mutable_welcome() = welcome;
    const int fds[] = {region_.memfd(), doorbell_.get()};
    const bool sent = Send(connection_.get(), message.SerializeAsString(), fds);
    region_.CloseFd();
    return sent;
  }

  bool SendFd(uint32_t lane, uint32_t sequence, int fd) override {
    ChannelMessage message;
    message.mutable_fd_delivery()->set_lane(lane);
    message.mutable_fd_delivery()->set_sequence(sequence);
    const int fds[] = {fd};
    return Send(connection_.get(), message.SerializeAsString(), fds);
  }

  void Wake(uint32_t lane) override { WakeWord(region_.response_tail(lane)); }
  void WakeDoorbellWatch() override { WakeWord(region_.doorbell_state()); }

 private:
  static void WakeWord(std::atomic<uint32_t>& word) {
    // SAFETY: the word lies in the region for as long as this object lives; a futex wake reads nothing from
    // it.
    syscall(SYS_futex, &word, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
  }

  Fd connection_;
  Region region_;
  Fd doorbell_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Transport>> CreateUnixTransport(Fd connection) {
  auto region = Region::Create();
  if (!region.ok()) return region.status();
  Fd doorbell(eventfd(0, EFD_CLOEXEC));
  if (!doorbell.valid()) return absl::ErrnoToStatus(errno, "eventfd");
  return std::make_unique<UnixTransport>(std::move(connection), *std::move(region), std::move(doorbell));
}

}  // namespace nvshim::broker
