// The asking end of the control socket.
#ifndef BROKER_SUPERVISOR_CONTROL_CLIENT_H_
#define BROKER_SUPERVISOR_CONTROL_CLIENT_H_

#include <string>

#include "absl/status/statusor.h"
#include "proto/control.pb.h"

namespace nvshim::broker {

// Where the broker that serves guests at `socket` listens for its operators.
std::string ControlSocketOf(const std::string& socket);

// The answer of the broker at `socket` (the guests' socket). Errors say what to do: nobody answers there
// (kUnavailable), the caller may not ask (kPermissionDenied), or what the broker says against the request
// (kFailedPrecondition).
absl::StatusOr<ControlReply> Ask(const std::string& socket, const ControlRequest& request);

// The statistics of the broker at `socket`; errors as above.
absl::StatusOr<BrokerStatistics> AskStatistics(const std::string& socket);

}  // namespace nvshim::broker

#endif  // BROKER_SUPERVISOR_CONTROL_CLIENT_H_
