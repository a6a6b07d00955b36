// Which guest a connection belongs to, by the kernel's word: peer uid and cgroup, or the named socket it came
// in on.
#ifndef BROKER_SUPERVISOR_GUEST_IDENTITY_H_
#define BROKER_SUPERVISOR_GUEST_IDENTITY_H_

#include <sys/types.h>

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "broker/io/socket.h"

namespace nvshim::broker {

// "uid 1000 /user.slice/user-1000.slice": the same text is the same guest. Fails when the peer is gone
// already.
absl::StatusOr<std::string> GuestNameOf(const Peer& peer);

// The uid in such a name; nothing in that of a guest with a socket of its own.
std::optional<uid_t> UidIn(const std::string& guest_name);

// The cgroup v2 path (or, without one, the first v1 path) in the text of /proc/<pid>/cgroup.
std::string CgroupIn(const std::string& proc_pid_cgroup);

}  // namespace nvshim::broker

#endif  // BROKER_SUPERVISOR_GUEST_IDENTITY_H_
