// The listening sockets of guests: the one for guests by user and control group, and one for each guest that
// has a name. Takes connections and says whose they are; reads nothing. One thread.
#ifndef BROKER_SUPERVISOR_GUEST_SOCKETS_H_
#define BROKER_SUPERVISOR_GUEST_SOCKETS_H_

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "broker/io/fd.h"
#include "broker/io/loop.h"

namespace nvshim::broker {

class GuestSockets {
 public:
  // A process has connected, which is of the guest `name`.
  using OnConnection = std::function<void(Fd connection, const std::string& name, uid_t uid)>;

  // Completions of `tag` on `loop` belong to this object.
  GuestSockets(Loop* loop, uint8_t tag, OnConnection on_connection)
      : loop_(loop), tag_(tag), on_connection_(std::move(on_connection)) {}
  GuestSockets(const GuestSockets&) = delete;
  GuestSockets& operator=(const GuestSockets&) = delete;
  // Removes the sockets that were bound here.
  ~GuestSockets();

  // In what follows `guest` is whose who connects is; empty: by the peer.

  // Listens at a socket that somebody else has bound.
  void Take(const std::string& guest, Fd socket);
  // Binds one. Who may connect decides the folder that it is in.
  absl::Status Bind(const std::string& guest, const std::string& path);
  // Binds one that those may use who may use the socket at `like`.
  absl::Status BindLike(const std::string& guest, const std::string& path, const std::string& like);

  // Accepts from now on, at sockets that come later as well.
  void Start();

  // Closes that of a guest. Who waits there is turned away.
  void Close(const std::string& guest);

  bool Has(const std::string& guest) const;
  // By name, with their paths.
  std::map<std::string, std::string> Named() const;

  void Complete(const Completion& completion);

 private:
  struct Listener {
    Fd socket;
    std::string path;  // empty: made by somebody else
    std::string guest;
  };

  void Add(Listener listener);
  void Accept(uint32_t index);

  Loop* loop_;
  const uint8_t tag_;
  const OnConnection on_connection_;
  bool started_ = false;
  std::map<uint32_t, Listener> listeners_;  // by the index of their tags; never reused
  uint32_t next_ = 0;
};

}  // namespace nvshim::broker

#endif  // BROKER_SUPERVISOR_GUEST_SOCKETS_H_
