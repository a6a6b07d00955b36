// The answering end of the control socket: takes requests of operators, one at a time of each, and sends the
// answers. It decides nothing: who may is the mode of the socket, what is done the supervisor. Nothing that a
// client does or leaves undone holds the supervisor up. One thread.
#ifndef BROKER_SUPERVISOR_CONTROL_SERVER_H_
#define BROKER_SUPERVISOR_CONTROL_SERVER_H_

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "broker/io/fd.h"
#include "broker/io/loop.h"
#include "proto/control.pb.h"

namespace nvshim::broker {

class ControlServer {
 public:
  // Connections at a time. One more takes the place of that which has been silent for longest.
  static constexpr size_t kClientsMax = 16;
  static constexpr size_t kRequestSizeBytesMax = 4096;

  // A client asks. It is told by Answer, now or later.
  using OnRequest = std::function<void(uint32_t client, const ControlRequest& request)>;

  // Completions of the two kinds on `loop` belong to this object.
  ControlServer(Loop* loop, uint8_t listener_tag, uint8_t client_tag, OnRequest on_request)
      : loop_(loop),
        listener_tag_(listener_tag),
        client_tag_(client_tag),
        on_request_(std::move(on_request)) {}
  ControlServer(const ControlServer&) = delete;
  ControlServer& operator=(const ControlServer&) = delete;
  // Removes a socket that was bound here.
  ~ControlServer();

  // Binds the socket, which is the broker's user's alone. Requests wait until Start.
  absl::Status Bind(const std::string& path);
  // Or takes one that somebody else has bound.
  void Take(Fd listener) { listener_ = std::move(listener); }
  void Start();

  void Complete(const Completion& completion);

  // Of the process that connected; nothing when it is gone.
  std::optional<uid_t> UidOf(uint32_t client) const;

  // Nothing happens when the client is gone. One that does not take the answer is dropped.
  void Answer(uint32_t client, const ControlReply& reply);

 private:
  struct Client {
    Fd socket;
    bool waits = false;  // for an answer
  };

  void OnListener();
  void OnClient(uint32_t index);
  bool MakeRoom();
  void Drop(uint32_t index);

  Loop* loop_;
  uint8_t listener_tag_;
  uint8_t client_tag_;
  OnRequest on_request_;
  Fd listener_;
  std::string path_;                    // empty: bound by somebody else
  std::map<uint32_t, Client> clients_;  // in the order in which they came
  uint32_t next_ = 1;
};

}  // namespace nvshim::broker

#endif  // BROKER_SUPERVISOR_CONTROL_SERVER_H_
