#include "broker/sandbox/privileges.h"

#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <string>

#include "absl/strings/str_cat.h"

namespace nvshim::broker {
namespace {

// Each returns false and sets errno where it fails.

// Of all capabilities that this kernel knows. Only who has CAP_SETPCAP may; who has not keeps the set, which
// is worth nothing: it bounds what exec of a privileged program gives, and with no_new_privs exec gives none.
bool EmptyBoundingSet(std::optional<uid_t>) {
  for (int capability = 0; prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0; ++capability)
    if (prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0 && errno != EPERM) return false;
  return true;
}

// Real, effective and saved: what is left in one of them could be taken up again.
bool KeepOneGroup(std::optional<uid_t>) { return setresgid(getegid(), getegid(), getegid()) == 0; }

bool BecomeOneUser(std::optional<uid_t> uid) {
  const uid_t only = uid.value_or(geteuid());
  return setresuid(only, only, only) == 0;
}

// Effective, permitted and inheritable; the kernel keeps ambient ones only as long as they are in the last
// two (capabilities(7)).
bool DropCapabilities(std::optional<uid_t>) {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  const __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {};
  return syscall(SYS_capset, &header, none) == 0;
}

bool SetNoNewPrivileges(std::optional<uid_t>) { return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0; }

// No core files with guests' memory in them, and no ptrace by others of the same user.
bool SetNotDumpable(std::optional<uid_t>) { return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0; }

struct Step {
  const char* name;
  bool (*take)(std::optional<uid_t> uid);
};

constexpr Step kSteps[] = {
    {"empty the bounding set", EmptyBoundingSet},    // first: a change of user takes CAP_SETPCAP along
    {"keep one group id", KeepOneGroup},             // the broker's, and its supplementary groups
    {"become one user", BecomeOneUser},              // of --worker-uid-range, or the broker's
    {"drop all capabilities", DropCapabilities},     // after the ids, whose change needs them
    {"gain no new privileges", SetNoNewPrivileges},  // exec gives nothing back
    {"be not dumpable", SetNotDumpable},             // last: a change of credentials sets it anew
};

}  // namespace

absl::Status DropPrivileges(std::optional<uid_t> uid) {
  for (const Step& step : kSteps) {
    if (step.take(uid)) continue;
    const int error = errno;
    const std::string whom = uid ? absl::StrCat(" (uid ", *uid, ")") : "";
    return absl::ErrnoToStatus(error, absl::StrCat("privileges of the worker: cannot ", step.name, whom));
  }
  return absl::OkStatus();
}

absl::Status CheckMayRunOtherUsers() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3] = {};
  if (syscall(SYS_capget, &header, sets) != 0) return absl::ErrnoToStatus(errno, "capget");
  if ((sets[0].effective & CAP_TO_MASK(CAP_SETUID)) == 0)
    return absl::PermissionDeniedError("CAP_SETUID is missing, to become another user");
  if ((sets[0].effective & CAP_TO_MASK(CAP_KILL)) == 0)
    return absl::PermissionDeniedError("CAP_KILL is missing, to end a process of another user");
  return absl::OkStatus();
}

}  // namespace nvshim::broker
