// The answering end of the control socket: takes requests of operators and keeps them until there is an
// answer. One thread.
#ifndef BROKER_SUPERVISOR_CONTROL_SERVER_H_
#define BROKER_SUPERVISOR_CONTROL_SERVER_H_

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "broker/io/fd.h"
#include "broker/io/loop.h"
#include "proto/control.pb.h"

namespace nvshim::broker {

class ControlServer {
 public:
  // Completions of the two kinds on `loop` belong to this object. `on_statistics`: somebody waits for them
  // now.
  ControlServer(Loop* loop, uint8_t listener_tag, uint8_t client_tag, std::function<void()> on_statistics)
      : loop_(loop),
        listener_tag_(listener_tag),
        client_tag_(client_tag),
        on_statistics_(std::move(on_statistics)) {}

  // Binds the socket. Requests wait until Start.
  absl::Status Bind(const std::string& path);
  void Start();

  void Complete(const Completion& completion);

  bool statistics_wanted() const;
  // Answers all who wait.
  void Answer(const BrokerStatistics& statistics);

 private:
  struct Client {
    Fd socket;
    bool waits = false;  // for statistics
  };

  void OnListener();
  void OnClient(uint32_t index);

  Loop* loop_;
  uint8_t listener_tag_;
  uint8_t client_tag_;
  std::function<void()> on_statistics_;
  Fd listener_;
  std::map<uint32_t, Client> clients_;
  uint32_t next_ = 1;
};

}  // namespace nvshim::broker

#endif  // BROKER_SUPERVISOR_CONTROL_SERVER_H_
