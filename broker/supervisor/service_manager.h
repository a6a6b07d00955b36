// What the supervisor says to systemd and gets from it: readiness, status, the watchdog, listening sockets.
// Where systemd has not started the process all of it does nothing. libsystemd is loaded only where it has,
// so the broker needs it nowhere else. One thread.
#ifndef BROKER_SUPERVISOR_SERVICE_MANAGER_H_
#define BROKER_SUPERVISOR_SERVICE_MANAGER_H_

#include <chrono>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "broker/io/fd.h"

namespace nvshim::broker {

// A listening socket of guests that was made before the broker was started (sd_listen_fds(3)).
struct InheritedSocket {
  Fd socket;
  std::string guest;  // of whoever connects; empty: by the peer
};

struct InheritedSockets {
  std::vector<InheritedSocket> guests;
  Fd control;  // invalid when there is none
};

class ServiceManager {
 public:
  // Takes what the environment says, and out of it what workers must not see. An error when systemd has
  // started the process and libsystemd cannot be loaded.
  static absl::StatusOr<ServiceManager> FromEnvironment();

  // The sockets of gpu-broker.socket, gpu-broker-control.socket and each gpu-broker-guest@NAME.socket, once.
  // An error names the one that is of the wrong kind.
  absl::StatusOr<InheritedSockets> TakeSockets();

  // Has systemd hold these open files until the service is stopped, in place of those that it holds already.
  // So a restart finds the GPUs initialised, also when no worker has them open.
  void Keep(std::span<const int> fds) const;

  // How often FeedWatchdog is due; nothing when nobody watches.
  std::optional<std::chrono::microseconds> watchdog_interval() const { return watchdog_interval_; }
  void FeedWatchdog() const { Notify("WATCHDOG=1"); }

  void Ready() const { Notify("READY=1"); }
  // Settings are being read again; Ready says that this is over.
  void Reloading() const;
  // One line for `systemctl status`.
  void Status(const std::string& line) const { Notify("STATUS=" + line); }
  // The process ends within `most`.
  void Stopping(std::chrono::microseconds most) const;

 private:
  struct Library;  // the functions of libsystemd

  void Notify(const std::string& state) const;

  const Library* library_ = nullptr;
  std::optional<std::chrono::microseconds> watchdog_interval_;
};

// The guest that a socket named `name` (FileDescriptorName= of its unit) is for: that of "guest=NAME". Any
// other name: guests by the peer.
std::string GuestOfSocket(const std::string& name);

}  // namespace nvshim::broker

#endif  // BROKER_SUPERVISOR_SERVICE_MANAGER_H_
