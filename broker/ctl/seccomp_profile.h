// The filter of nvshim-run (broker/run/filter.h) for container engines, which start a container under one
// seccomp profile: theirs, with the ioctls of NVIDIA's driver taken out of what it allows. No system calls.
#ifndef BROKER_CTL_SECCOMP_PROFILE_H_
#define BROKER_CTL_SECCOMP_PROFILE_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "broker/run/filter.h"

namespace nvshim::broker::ctl {

// The requests that none of `refused` matches, as rules of which each request matches one at most.
std::vector<RequestRule> Complement(const std::vector<RequestRule>& refused);

// The profile `base`, the JSON of an engine's default, in which ioctl is allowed except for
// RefusedRequests(), which fail with EPERM. A profile is a list of what is allowed, and of two rules for a
// call the one without conditions wins: so the permission for all ioctls is taken out, and one for each of
// Complement() put in. Refuses a text that is no profile of this form, or that does not allow ioctl.
absl::StatusOr<std::string> ConfinedProfile(const std::string& base);

}  // namespace nvshim::broker::ctl

#endif  // BROKER_CTL_SECCOMP_PROFILE_H_
