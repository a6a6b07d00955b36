#include "broker/supervisor/control_reply.h"

#include <unistd.h>

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "broker/io/fd.h"
#include "broker/io/sealed_memfd.h"
#include "broker/io/socket.h"

namespace nvshim::broker {
namespace {

// False when the file has fewer bytes.
bool ReadAll(int fd, std::string* bytes) {
  for (size_t done = 0; done < bytes->size();) {
    const ssize_t some = pread(fd, bytes->data() + done, bytes->size() - done, static_cast<off_t>(done));
    if (some <= 0) return false;
    done += static_cast<size_t>(some);
  }
  return true;
}

bool WriteAll(int fd, const std::string& bytes) {
  for (size_t done = 0; done < bytes.size();) {
    const ssize_t some = pwrite(fd, bytes.data() + done, bytes.size() - done, static_cast<off_t>(done));
    if (some <= 0) return false;
    done += static_cast<size_t>(some);
  }
  return true;
}

}  // namespace

bool SendReply(int socket, const ControlReply& reply) {
  const std::string bytes = reply.SerializeAsString();
  if (bytes.size() <= kReplyDatagramBytesMax) return Send(socket, bytes);
  if (bytes.size() > kReplyBytesMax) return false;
  const auto memfd = CreateSealedMemfd("reply", bytes.size());
  if (!memfd.ok() || !WriteAll(memfd->get(), bytes)) return false;
  ControlReply elsewhere;
  elsewhere.set_memfd_bytes(bytes.size());
  const int fds[] = {memfd->get()};
  return Send(socket, elsewhere.SerializeAsString(), fds);
}

absl::StatusOr<ControlReply> ReceiveReply(int socket) {
  const absl::Status no_reply = absl::UnavailableError("no reply");
  std::vector<char> bytes(kReplyDatagramBytesMax);
  Fd memfd[1];
  const ssize_t received = ReceiveWithFds(socket, bytes, memfd);
  ControlReply reply;
  if (received <= 0 || !reply.ParseFromArray(bytes.data(), static_cast<int>(received))) return no_reply;
  if (reply.memfd_bytes() == 0) return reply;
  if (reply.memfd_bytes() > kReplyBytesMax) return no_reply;
  std::string all(reply.memfd_bytes(), '\0');
  if (!ReadAll(memfd[0].get(), &all) || !reply.ParseFromString(all)) return no_reply;
  return reply;
}

}  // namespace nvshim::broker
