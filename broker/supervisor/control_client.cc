#include "broker/supervisor/control_client.h"

#include <poll.h>

#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "broker/io/socket.h"

namespace nvshim::broker {
namespace {

// A broker answers within a turn of its loop; one that takes this long is stuck.
constexpr int kAnswerTimeoutMs = 10'000;
constexpr size_t kReplySizeBytesMax = 1 << 20;

}  // namespace

std::string ControlSocketOf(const std::string& socket) { return socket + ".control"; }

absl::StatusOr<BrokerStatistics> AskStatistics(const std::string& socket) {
  const std::string path = ControlSocketOf(socket);
  auto connection = Connect(path);
  if (!connection.ok())
    return absl::UnavailableError(absl::StrCat(connection.status().message(),
                                               ": is gpu-broker running with --socket ", socket,
                                               ", and do you run as the same user?"));
  ControlRequest request;
  request.mutable_statistics();
  if (!Send(connection->get(), request.SerializeAsString()))
    return absl::UnavailableError(absl::StrCat("the broker at ", path, " does not take requests"));
  pollfd entry{connection->get(), POLLIN, 0};
  if (poll(&entry, 1, kAnswerTimeoutMs) != 1)
    return absl::DeadlineExceededError(absl::StrCat("the broker at ", path, " does not answer"));
  std::vector<char> bytes(kReplySizeBytesMax);
  const ssize_t received = Receive(connection->get(), bytes);
  ControlReply reply;
  if (received <= 0 || !reply.ParseFromArray(bytes.data(), static_cast<int>(received)))
    return absl::UnavailableError(absl::StrCat("the broker at ", path, " hung up"));
  if (!reply.error().empty()) return absl::InternalError(reply.error());
  return reply.statistics();
}

}  // namespace nvshim::broker
