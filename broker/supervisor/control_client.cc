#include "broker/supervisor/control_client.h"

#include <grp.h>
#include <poll.h>
#include <pwd.h>
#include <sys/stat.h>

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "broker/io/socket.h"
#include "broker/supervisor/control_reply.h"

namespace nvshim::broker {
namespace {

// A broker answers within a turn of its loop, or one of its workers'; one that takes this long is stuck.
constexpr int kAnswerTimeoutMs = 10'000;

std::string UserName(uid_t uid) {
  const passwd* user = getpwuid(uid);
  return user == nullptr ? absl::StrCat("with the user id ", uid) : user->pw_name;
}

std::string GroupName(gid_t gid) {
  const group* found = getgrgid(gid);
  return found == nullptr ? absl::StrCat("with the group id ", gid) : found->gr_name;
}

std::string WhoMay(const struct stat& status) {
  std::string who = "root";
  if (status.st_uid != 0) absl::StrAppend(&who, ", the user ", UserName(status.st_uid));
  if ((status.st_mode & S_IWGRP) != 0)
    absl::StrAppend(&who, ", users of the group ", GroupName(status.st_gid));
  return who;
}

absl::Status CannotConnect(const std::string& path, const absl::Status& status) {
  struct stat found;
  if (!absl::IsPermissionDenied(status))
    return absl::UnavailableError(
        absl::StrCat("no gpu-broker answers at ", path,
                     ". Start it (systemctl start gpu-broker), or name with --socket the one that runs"));
  if (stat(path.c_str(), &found) != 0)
    return absl::PermissionDeniedError(
        absl::StrCat("you may not enter the folder of ", path, ": run as the broker's user, or as root"));
  return absl::PermissionDeniedError(
      absl::StrCat("you may not ask the broker at ", path, ". These may: ", WhoMay(found)));
}

}  // namespace

std::string ControlSocketOf(const std::string& socket) { return socket + ".control"; }

absl::StatusOr<ControlReply> Ask(const std::string& socket, const ControlRequest& request) {
  const std::string path = ControlSocketOf(socket);
  auto connection = Connect(path);
  if (!connection.ok()) return CannotConnect(path, connection.status());
  if (!Send(connection->get(), request.SerializeAsString()))
    return absl::UnavailableError(absl::StrCat("the broker at ", path, " does not take requests"));
  pollfd entry{connection->get(), POLLIN, 0};
  if (poll(&entry, 1, kAnswerTimeoutMs) != 1)
    return absl::DeadlineExceededError(absl::StrCat("the broker at ", path, " does not answer"));
  auto reply = ReceiveReply(connection->get());
  if (!reply.ok()) return absl::UnavailableError(absl::StrCat("the broker at ", path, " hung up"));
  if (!reply->error().empty()) return absl::FailedPreconditionError(reply->error());
  return reply;
}

absl::StatusOr<BrokerStatistics> AskStatistics(const std::string& socket) {
  ControlRequest request;
  request.mutable_statistics();
  auto reply = Ask(socket, request);
  if (!reply.ok()) return reply.status();
  return *std::move(*reply).mutable_statistics();
}

}  // namespace nvshim::broker
