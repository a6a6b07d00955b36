#include "testing/guest/raw_guest.h"

#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace nvshim::testing {
namespace {

constexpr size_t kWelcomeSizeBytesMax = 64 << 10;

// One datagram and its descriptors; nothing when the broker hung up.
std::optional<std::string> ReceiveDatagram(int channel, std::vector<int>* fds) {
  std::string bytes(kWelcomeSizeBytesMax, '\0');
  iovec part{bytes.data(), bytes.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(4 * sizeof(int))];
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  ssize_t received;
  do {
    received = recvmsg(channel, &message, MSG_CMSG_CLOEXEC);
    if (received < 0 && errno == EAGAIN) {
      pollfd entry{channel, POLLIN, 0};
      poll(&entry, 1, -1);
    }
  } while (received < 0 && (errno == EINTR || errno == EAGAIN));
  if (received <= 0) return std::nullopt;
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr; header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int fd;
      std::memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof(fd));
      fds->push_back(fd);
    }
  }
  bytes.resize(static_cast<size_t>(received));
  return bytes;
}

void AppendPadded(std::vector<uint8_t>& to, std::span<const uint8_t> bytes) {
  to.insert(to.end(), bytes.begin(), bytes.end());
  to.resize(wire::AlignUp8(static_cast<uint32_t>(to.size())));
}

}  // namespace

std::unique_ptr<RawGuest> RawGuest::Connect(const std::string& socket_path, Refused* refusal) {
  const int channel = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  socket_path.copy(address.sun_path, sizeof(address.sun_path) - 1);
  if (connect(channel, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) {
    close(channel);
    return nullptr;
  }
  return Attach(channel, refusal);
}

std::unique_ptr<RawGuest> RawGuest::Attach(int channel, Refused* refusal) {
  ChannelMessage hello;
  hello.mutable_hello()->set_protocol_version(wire::kProtocolVersion);
  hello.mutable_hello()->set_shim_version("raw");
  const std::string bytes = hello.SerializeAsString();
  send(channel, bytes.data(), bytes.size(), MSG_NOSIGNAL);
  std::vector<int> fds;
  const auto datagram = ReceiveDatagram(channel, &fds);
  ChannelMessage answer;
  if (!datagram || !answer.ParseFromString(*datagram) || !answer.has_welcome() || fds.size() != 2) {
    if (refusal != nullptr) *refusal = answer.refused();
    close(channel);
    return nullptr;
  }
  void* base = mmap(nullptr, wire::kRegionSizeBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fds[0], 0);
  if (base == MAP_FAILED) return nullptr;
  return std::unique_ptr<RawGuest>(
      new RawGuest(channel, answer.welcome(), fds[0], fds[1], static_cast<uint8_t*>(base)));
}

RawGuest::RawGuest(int channel, Welcome welcome, int memfd, int doorbell, uint8_t* base)
    : channel_(channel), welcome_(std::move(welcome)), memfd_(memfd), doorbell_(doorbell), base_(base) {
  for (uint32_t i = 0; i < wire::kLaneCount; ++i) {
    wire::LaneHeader* lane = wire::LaneOf(base_, i);
    requests_[i] = wire::RingProducer(wire::RequestRingOf(base_, i), wire::kRingSizeBytes,
                                      &lane->request_tail, &lane->request_head);
    responses_[i] = wire::RingConsumer(wire::ResponseRingOf(base_, i), wire::kRingSizeBytes,
                                       &lane->response_head, &lane->response_tail);
  }
}

RawGuest::~RawGuest() {
  munmap(base_, wire::kRegionSizeBytes);
  for (int fd : {channel_, memfd_, doorbell_}) close(fd);
}

bool RawGuest::HungUp() const {
  pollfd entry{channel_, POLLRDHUP, 0};
  return poll(&entry, 1, 0) == 1 && (entry.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}

void RawGuest::Ring(uint64_t lanes) {
  wire::RegionHeader* header = wire::HeaderOf(base_);
  header->lanes_pending.fetch_or(lanes, std::memory_order_release);
  std::atomic_thread_fence(std::memory_order_seq_cst);
  uint32_t sleep = header->worker_waiting.load();
  if (sleep == 0) return;
  const uint64_t one = 1;
  if (write(doorbell_, &one, sizeof(one)) == sizeof(one))
    header->worker_waiting.compare_exchange_strong(sleep, 0);
}

bool RawGuest::Publish(uint32_t lane, std::span<const uint8_t> bytes) {
  if (!requests_[lane].Begin(static_cast<uint32_t>(bytes.size()))) return false;
  requests_[lane].Write(bytes.data(), static_cast<uint32_t>(bytes.size()));
  requests_[lane].Publish();
  Ring(uint64_t{1} << lane);
  return true;
}

std::optional<RawGuest::Reply> RawGuest::Call(uint32_t lane, wire::FrameKind kind, uint32_t file_id,
                                              const std::string& body, std::span<const uint8_t> payload) {
  wire::FrameHeader header{};
  header.magic = wire::kFrameMagic;
  header.kind = kind;
  header.body_size_bytes = static_cast<uint16_t>(body.size());
  header.payload_size_bytes = static_cast<uint32_t>(payload.size());
  header.sequence = ++sequence_;
  header.file_id = file_id;
  std::vector<uint8_t> frame;
  AppendPadded(frame, {reinterpret_cast<const uint8_t*>(&header), sizeof(header)});
  AppendPadded(frame, {reinterpret_cast<const uint8_t*>(body.data()), body.size()});
  AppendPadded(frame, payload);
  if (!Publish(lane, frame)) return std::nullopt;
  // Looks without sleeping: the simplest wait that a guest can do.
  uint32_t looks = 0;
  while (responses_[lane].Available() == 0) {
    if (++looks % 1024 == 0 && HungUp() && responses_[lane].Available() == 0) return std::nullopt;
    sched_yield();
  }
  Reply reply;
  responses_[lane].Read(&reply.header, sizeof(reply.header));
  reply.body.resize(wire::AlignUp8(reply.header.body_size_bytes));
  responses_[lane].Read(reply.body.data(), static_cast<uint32_t>(reply.body.size()));
  reply.body.resize(reply.header.body_size_bytes);
  reply.payload.resize(reply.header.payload_size_bytes);
  responses_[lane].Read(reply.payload.data(), reply.header.payload_size_bytes);
  responses_[lane].Finish();
  return reply;
}

int RawGuest::TakeFd() {
  std::vector<int> fds;
  ReceiveDatagram(channel_, &fds);
  return fds.empty() ? -1 : fds[0];
}

std::optional<OpenAnswer> RawGuest::Open(DeviceClass device_class, uint32_t minor, uint32_t lane) {
  OpenRequest request;
  request.set_device_class(device_class);
  request.set_minor(minor);
  const auto reply = Call(lane, wire::kFrameKindOpen, 0, request.SerializeAsString(), {});
  OpenReply answer;
  if (!reply || !answer.ParseFromString(reply->body)) return std::nullopt;
  return OpenAnswer{answer.error(), answer.file_id(), answer.fds() == 1 ? TakeFd() : -1};
}

std::optional<IoctlAnswer> RawGuest::Ioctl(uint32_t file_id, uint32_t command,
                                           const std::vector<Buffer>& buffers,
                                           const std::vector<FileReference>& files, uint32_t lane) {
  IoctlRequest request;
  request.set_command(command);
  std::vector<uint8_t> payload;
  for (const Buffer& buffer : buffers) {
    Segment* segment = request.add_segments();
    segment->set_size_bytes(static_cast<uint32_t>(buffer.bytes.size()));
    segment->set_parent(buffer.parent);
    segment->set_pointer_offset(buffer.pointer_offset);
    AppendPadded(payload, buffer.bytes);
  }
  for (const FileReference& file : files) *request.add_files() = file;
  const auto reply = Call(lane, wire::kFrameKindIoctl, file_id, request.SerializeAsString(), payload);
  IoctlReply answer;
  if (!reply || !answer.ParseFromString(reply->body)) return std::nullopt;
  IoctlAnswer result{answer.error(), answer.fds() == 1 ? TakeFd() : -1, {}};
  size_t at = 0;
  for (size_t i = 0; answer.copied_out() && i < buffers.size(); ++i) {
    const auto* bytes = reply->payload.data() + at;
    result.segments.emplace_back(bytes, bytes + buffers[i].bytes.size());
    at += wire::AlignUp8(static_cast<uint32_t>(buffers[i].bytes.size()));
  }
  return result;
}

// ---- RM calls ----

std::optional<AllocAnswer> AllocClient(RawGuest& guest, uint32_t file_id, uint32_t lane) {
  const auto answer = guest.Ioctl(file_id, kIoctlRmAlloc, {{std::vector<uint8_t>(32), 0, 0}}, {}, lane);
  if (!answer || answer->segments.size() != 1) return std::nullopt;
  return AllocAnswer{ReadAt<uint32_t>(answer->segments[0], 28), ReadAt<uint32_t>(answer->segments[0], 8)};
}

std::optional<AllocAnswer> AllocObject(RawGuest& guest, uint32_t file_id, uint32_t client, uint32_t parent,
                                       uint32_t object, uint32_t rm_class, std::vector<uint8_t> params) {
  std::vector<uint8_t> nvos21(32);
  WriteAt<uint32_t>(nvos21, 0, client);
  WriteAt<uint32_t>(nvos21, 4, parent);
  WriteAt<uint32_t>(nvos21, 8, object);
  WriteAt<uint32_t>(nvos21, 12, rm_class);
  std::vector<Buffer> buffers = {{nvos21, 0, 0}};
  if (!params.empty()) buffers.push_back({std::move(params), 0, 16});
  const auto answer = guest.Ioctl(file_id, kIoctlRmAlloc, buffers);
  if (!answer || answer->segments.empty()) return std::nullopt;
  return AllocAnswer{ReadAt<uint32_t>(answer->segments[0], 28), ReadAt<uint32_t>(answer->segments[0], 8)};
}

std::optional<uint32_t> Control(RawGuest& guest, uint32_t file_id, uint32_t client, uint32_t object,
                                uint32_t cmd, std::vector<uint8_t>& params, uint32_t lane) {
  std::vector<uint8_t> nvos54(32);
  WriteAt<uint32_t>(nvos54, 0, client);
  WriteAt<uint32_t>(nvos54, 4, object);
  WriteAt<uint32_t>(nvos54, 8, cmd);
  WriteAt<uint32_t>(nvos54, 24, static_cast<uint32_t>(params.size()));
  std::vector<Buffer> buffers = {{nvos54, 0, 0}};
  if (!params.empty()) buffers.push_back({params, 0, 16});
  auto answer = guest.Ioctl(file_id, kIoctlRmControl, buffers, {}, lane);
  if (!answer || answer->segments.empty()) return std::nullopt;
  if (answer->segments.size() > 1) params = std::move(answer->segments[1]);
  return ReadAt<uint32_t>(answer->segments[0], 28);
}

std::optional<uint32_t> Free(RawGuest& guest, uint32_t file_id, uint32_t client, uint32_t object) {
  std::vector<uint8_t> nvos00(16);
  WriteAt<uint32_t>(nvos00, 0, client);
  WriteAt<uint32_t>(nvos00, 4, client);
  WriteAt<uint32_t>(nvos00, 8, object);
  const auto answer = guest.Ioctl(file_id, kIoctlRmFree, {{nvos00, 0, 0}});
  if (!answer || answer->segments.empty()) return std::nullopt;
  return ReadAt<uint32_t>(answer->segments[0], 12);
}

}  // namespace nvshim::testing
