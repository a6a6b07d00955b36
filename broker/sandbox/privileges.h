// How a worker gives up what it does not need. RM takes privilege from the credentials of the caller at each
// call, so this comes before the first RM client is made, and before there is a second thread: credentials
// are a thread's own.
#ifndef BROKER_SANDBOX_PRIVILEGES_H_
#define BROKER_SANDBOX_PRIVILEGES_H_

#include <sys/types.h>

#include <optional>

#include "absl/status/status.h"

namespace nvshim::broker {

// Leaves the calling process with one user id, `uid` if given and else the effective one, with one group id,
// without any capability, and without a way to another user or to a capability. Group and supplementary
// groups stay what they are: access to device nodes is often a group's. To have nothing to give up is no
// error; another `uid` without CAP_SETUID is one, and it names the step that failed.
absl::Status DropPrivileges(std::optional<uid_t> uid);

// Whether the calling process can start workers under other user ids and end them again: CAP_SETUID and
// CAP_KILL are in effect. The complaint names the one that is missing.
absl::Status CheckMayRunOtherUsers();

}  // namespace nvshim::broker

#endif  // BROKER_SANDBOX_PRIVILEGES_H_
