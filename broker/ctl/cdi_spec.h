// What a container needs to be a guest, in the form in which container engines take devices from vendors: a
// specification of the Container Device Interface. No system calls.
#ifndef BROKER_CTL_CDI_SPEC_H_
#define BROKER_CTL_CDI_SPEC_H_

#include <map>
#include <string>

#include "absl/status/statusor.h"

namespace nvshim::broker::ctl {

struct CdiOptions {
  std::string library;                         // libnvshim.so on the host, an absolute path
  std::string socket;                          // of the device `default`
  std::map<std::string, std::string> sockets;  // of the other devices, by name: named guests
};

// JSON with the devices nvshim.dev/gpu=NAME. Each gives a container the library, preloaded by its absolute
// path, and one socket of the broker, both bound read-only at the paths that they have on the host. No device
// nodes: they would be a way past the broker. No hooks: these run on the host. Refuses names that the
// interface does not allow, and paths that LD_PRELOAD cannot hold.
absl::StatusOr<std::string> CdiSpec(const CdiOptions& options);

}  // namespace nvshim::broker::ctl

#endif  // BROKER_CTL_CDI_SPEC_H_
