#include "preload/handshake.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include <atomic>
#include <cstddef>
#include <cstring>

#include "preload/channel.h"
#include "preload/log.h"
#include "proto/wire/frame.h"
#include "proto/wire/region.h"

namespace nvshim::preload {

namespace {

constexpr const char* kDefaultSocket = "/run/gpu-broker/gpu-broker.sock";
constexpr std::string_view kShimVersion = "libnvshim 1";

// Attaching takes milliseconds, or a worker's start; a broker that has not answered by now is stuck, and the
// program should hear "no device" rather than hang.
constexpr time_t kTimeoutS = 5;

// A supervisor that dies takes along whom it was just letting in; the next one serves who asks again. Who is
// turned away without a word is so each time.
constexpr int kAttempts = 3;

// Where programs that count descriptors from 3 do not look, if the limit allows.
constexpr int kParkFloors[] = {1000, 200};

int ParkHigh(int fd) {
  for (const int floor : kParkFloors) {
    const long parked = Syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, floor);
    if (parked < 0) continue;
    CloseFd(fd);
    return static_cast<int>(parked);
  }
  return fd;
}

const char* SocketPath() {
  const char* path = secure_getenv("NVSHIM_SOCKET");
  return path != nullptr && path[0] != '\0' ? path : kDefaultSocket;
}

// A connected channel, or a negative errno.
int ConnectTo(const char* path) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  const size_t length = std::strlen(path);
  if (length >= sizeof(address.sun_path)) return -ENAMETOOLONG;
  std::memcpy(address.sun_path, path, length);
  const int fd = static_cast<int>(Syscall(SYS_socket, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  if (fd < 0) return fd;
  const timeval timeout = {kTimeoutS, 0};
  Syscall(SYS_setsockopt, fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
  Syscall(SYS_setsockopt, fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
  const long error = Syscall(SYS_connect, fd, &address, offsetof(sockaddr_un, sun_path) + length + 1);
  if (error == 0) return ParkHigh(fd);
  CloseFd(fd);
  return static_cast<int>(error);
}

// Why there is no GPU.
constinit std::atomic<bool> g_told{false};

// What stands in the way, and what helps.
std::string_view ReasonOf(int error) {
  switch (error) {
    case ENOENT:
      return "there is no such socket; start gpu-broker (systemctl start gpu-broker.socket), or name its "
             "socket in NVSHIM_SOCKET";
    case ECONNREFUSED:
      return "nobody listens on it; start gpu-broker, or name its socket in NVSHIM_SOCKET";
    case EACCES:
      return "this user may not connect to it; who is in its group may (ls -l, adduser USER GROUP), from the "
             "next login on";
    case EAGAIN:
      return "the broker does not answer; see its log";
    default:
      return "connecting failed; is NVSHIM_SOCKET right?";
  }
}

void LogNoBroker(const char* path, int error) {
  LogOnce(g_told, {"no GPU: ", path, ": ", ReasonOf(error), " (errno ", Decimal(error), ")"});
}

int Refuse(std::string_view why) {
  LogOnce(g_told, {"no GPU: ", why});
  return ENODEV;
}

bool LayoutMatches(void* region) {
  const wire::RegionHeader* header = wire::HeaderOf(region);
  return header->magic == wire::kRegionMagic && header->layout_version == wire::kRegionLayoutVersion &&
         header->lane_count == wire::kLaneCount && header->lane_stride_bytes == wire::kLaneStrideBytes &&
         header->lanes_offset == wire::kLanesOffset && header->ring_size_bytes == wire::kRingSizeBytes &&
         header->pool_offset == wire::kPoolOffset && header->pool_size_bytes == wire::kPoolSizeBytes;
}

// Maps the region; a forked child does not get it. Null when it is not what this build knows.
void* MapRegion(int memfd, uint64_t size_bytes) {
  struct stat status;
  if (!FstatFd(memfd, &status) || size_bytes < wire::kRegionSizeBytes ||
      static_cast<uint64_t>(status.st_size) < wire::kRegionSizeBytes) {
    return nullptr;
  }
  const long mapped =
      Syscall(SYS_mmap, 0, wire::kRegionSizeBytes, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
  if (mapped < 0 && mapped > -4096) return nullptr;
  void* const region = reinterpret_cast<void*>(mapped);
  Syscall(SYS_madvise, region, wire::kRegionSizeBytes, MADV_DONTFORK);
  if (LayoutMatches(region)) return region;
  Syscall(SYS_munmap, region, wire::kRegionSizeBytes);
  return nullptr;
}

// Sends Hello and receives the answer. Its size, or a negative errno.
long Ask(int channel, std::span<uint8_t> datagram, std::span<int> fds, uint32_t* fd_count) {
  uint8_t hello[128];
  const auto pid = static_cast<uint32_t>(Syscall(SYS_getpid));
  const size_t hello_size_bytes = EncodeHello(hello, wire::kProtocolVersion, kShimVersion, pid);
  const long sent = Syscall(SYS_sendto, channel, hello, hello_size_bytes, MSG_NOSIGNAL, 0, 0);
  if (sent < 0) return sent;
  long received;
  do {
    received = ReceiveDatagram(channel, datagram, 0, fds, fd_count);
  } while (received == -EINTR);  // a stopped process that was continued
  return received;
}

int AdmitWelcome(Bytes message, std::span<const int> fds, uint32_t fd_count, HandshakeResult* result,
                 Welcome* welcome) {
  *welcome = {};
  if (!DecodeWelcome(message, welcome) || fd_count != 2)
    return Refuse("the broker's Welcome is not understood");
  result->table = abi::ChooseTable(welcome->driver_version).table;
  if (result->table == nullptr)
    return Refuse(
        "this libnvshim.so does not know the broker's driver version; install the one that came with it");
  result->region = MapRegion(fds[0], welcome->region_size_bytes);
  if (result->region == nullptr)
    return Refuse("the shared region has another layout; install the libnvshim.so that came with the broker");
  result->doorbell_fd = ParkHigh(fds[1]);
  CloseFd(fds[0]);
  return 0;
}

// 0, or the error of Handshake, or ECONNRESET when the broker hung up.
int Admit(int channel, std::span<uint8_t> datagram, HandshakeResult* result, Welcome* welcome) {
  int fds[2] = {-1, -1};
  uint32_t fd_count = 0;
  const long size_bytes = Ask(channel, datagram, fds, &fd_count);
  if (size_bytes == 0 || size_bytes == -ECONNRESET || size_bytes == -EPIPE) return ECONNRESET;
  if (size_bytes < 0) {
    LogNoBroker(SocketPath(), static_cast<int>(-size_bytes));
    return ENOENT;
  }
  Bytes message;
  const ChannelKind kind = DecodeChannelMessage(datagram.first(static_cast<size_t>(size_bytes)), &message);
  int error = ENODEV;
  if (kind == ChannelKind::kWelcome) {
    error = AdmitWelcome(message, fds, fd_count, result, welcome);
  } else if (Refused refused; kind == ChannelKind::kRefused && DecodeRefused(message, &refused)) {
    LogOnce(g_told,
            {"no GPU: the broker refuses: ", refused.reason, " (errno ", Decimal(refused.error), ")"});
  } else {
    Refuse("the broker's answer is not understood; install the libnvshim.so that came with it");
  }
  if (error != 0)
    for (uint32_t i = 0; i < fd_count; ++i) CloseFd(fds[i]);
  return error;
}

}  // namespace

int Handshake(std::span<uint8_t> datagram, HandshakeResult* result, Welcome* welcome) {
  const char* const path = SocketPath();
  for (int attempt = 1;; ++attempt) {
    const int channel = ConnectTo(path);
    if (channel < 0) {
      LogNoBroker(path, -channel);
      return ENOENT;
    }
    const int error = Admit(channel, datagram, result, welcome);
    if (error == 0) {
      result->channel_fd = channel;
      return 0;
    }
    CloseFd(channel);
    if (error != ECONNRESET) return error;
    if (attempt == kAttempts)
      return Refuse("the broker closed the connection without a word; its log says why");
  }
}

}  // namespace nvshim::preload
