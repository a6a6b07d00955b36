#include "broker/supervisor/service_manager.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <systemd/sd-daemon.h>
#include <time.h>

#include <cstdlib>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "broker/log/log.h"

namespace nvshim::broker {
namespace {

constexpr char kLibrary[] = "libsystemd.so.0";
constexpr char kGuestPrefix[] = "guest=";
constexpr char kControl[] = "control";  // name of the operators' socket
constexpr char kKept[] = "warm-gpu";    // name of files that systemd holds

bool StartedBySystemd() {
  return getenv("NOTIFY_SOCKET") != nullptr || getenv("LISTEN_FDS") != nullptr ||
         getenv("WATCHDOG_USEC") != nullptr;
}

}  // namespace

struct ServiceManager::Library {
  decltype(&sd_notify) notify;
  decltype(&sd_pid_notify_with_fds) pid_notify_with_fds;
  decltype(&sd_listen_fds_with_names) listen_fds_with_names;
  decltype(&sd_is_socket_unix) is_socket_unix;
  decltype(&sd_watchdog_enabled) watchdog_enabled;

  // Null when the library or one of the functions is not there. It stays loaded.
  static const Library* Load() {
    void* const handle = dlopen(kLibrary, RTLD_NOW | RTLD_LOCAL);
    if (handle == nullptr) return nullptr;
    static Library library;
    library.notify = reinterpret_cast<decltype(&sd_notify)>(dlsym(handle, "sd_notify"));
    library.pid_notify_with_fds =
        reinterpret_cast<decltype(&sd_pid_notify_with_fds)>(dlsym(handle, "sd_pid_notify_with_fds"));
    library.listen_fds_with_names =
        reinterpret_cast<decltype(&sd_listen_fds_with_names)>(dlsym(handle, "sd_listen_fds_with_names"));
    library.is_socket_unix =
        reinterpret_cast<decltype(&sd_is_socket_unix)>(dlsym(handle, "sd_is_socket_unix"));
    library.watchdog_enabled =
        reinterpret_cast<decltype(&sd_watchdog_enabled)>(dlsym(handle, "sd_watchdog_enabled"));
    const bool whole = library.notify != nullptr && library.pid_notify_with_fds != nullptr &&
                       library.listen_fds_with_names != nullptr && library.is_socket_unix != nullptr &&
                       library.watchdog_enabled != nullptr;
    return whole ? &library : nullptr;
  }
};

absl::StatusOr<ServiceManager> ServiceManager::FromEnvironment() {
  ServiceManager manager;
  if (!StartedBySystemd()) return manager;
  manager.library_ = Library::Load();
  if (manager.library_ == nullptr)
    return absl::FailedPreconditionError(absl::StrCat("systemd has started the broker, and ", kLibrary,
                                                      " cannot be loaded: install libsystemd0"));
  uint64_t interval_us = 0;
  if (manager.library_->watchdog_enabled(/*unset_environment=*/1, &interval_us) > 0)
    manager.watchdog_interval_ =
        std::chrono::microseconds(interval_us / 2);  // as sd_watchdog_enabled(3) advises
  return manager;
}

absl::StatusOr<InheritedSockets> ServiceManager::TakeSockets() {
  InheritedSockets sockets;
  if (library_ == nullptr) return sockets;
  char** names = nullptr;
  const int count = library_->listen_fds_with_names(/*unset_environment=*/1, &names);
  std::string wrong;
  for (int i = 0; i < count; ++i) {
    Fd socket(SD_LISTEN_FDS_START + i);
    const std::string name = names[i];
    free(names[i]);
    if (name == kKept) continue;  // systemd holds it all the same
    if (library_->is_socket_unix(socket.get(), SOCK_SEQPACKET, /*listening=*/1, nullptr, 0) <= 0)
      wrong = name;
    fcntl(socket.get(), F_SETFL, fcntl(socket.get(), F_GETFL) | O_NONBLOCK);
    if (name == kControl) {
      sockets.control = std::move(socket);
    } else {
      sockets.guests.push_back({std::move(socket), GuestOfSocket(name)});
    }
  }
  free(names);
  if (count < 0) return absl::ErrnoToStatus(-count, "sd_listen_fds_with_names");
  if (!wrong.empty())
    return absl::InvalidArgumentError(
        absl::StrCat("the socket '", wrong, "' that systemd has passed is none of ListenSequentialPacket="));
  return sockets;
}

void ServiceManager::Keep(std::span<const int> fds) const {
  if (library_ == nullptr) return;
  Notify(absl::StrCat("FDSTOREREMOVE=1\nFDNAME=", kKept));
  // Not polled: what an idle device file polls as says nothing about whether it is worth holding.
  const std::string state = absl::StrCat("FDSTORE=1\nFDPOLL=0\nFDNAME=", kKept);
  const int sent = library_->pid_notify_with_fds(/*pid=*/0, /*unset_environment=*/0, state.c_str(),
                                                 fds.data(), static_cast<unsigned>(fds.size()));
  if (sent < 0) Log(Severity::kWarning, "systemd cannot be given the open GPUs", {{"errno", -sent}});
}

void ServiceManager::Reloading() const {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  Notify(absl::StrCat("RELOADING=1\nMONOTONIC_USEC=", now.tv_sec * 1'000'000 + now.tv_nsec / 1'000));
}

void ServiceManager::Stopping(std::chrono::microseconds most) const {
  Notify(absl::StrCat("STOPPING=1\nEXTEND_TIMEOUT_USEC=", most.count()));
}

void ServiceManager::Notify(const std::string& state) const {
  if (library_ == nullptr) return;
  if (const int sent = library_->notify(/*unset_environment=*/0, state.c_str()); sent < 0)
    Log(Severity::kWarning, "systemd cannot be told", {{"state", state}, {"errno", -sent}});
}

std::string GuestOfSocket(const std::string& name) {
  return name.starts_with(kGuestPrefix) ? name.substr(sizeof(kGuestPrefix) - 1) : "";
}

}  // namespace nvshim::broker
