// The HTTP side of the exporter: /metrics for Prometheus, /healthz and /readyz for those who watch services.
// Whoever can reach the address may ask; requests change nothing. One thread serves them. A second one lives
// while the broker is asked, so that a broker that is stuck keeps nobody waiting who does not ask for it.
//
// The server is libevent's: of the HTTP servers in Debian 12 it is the one that has an archive to link.
#ifndef BROKER_EXPORTER_HTTP_SERVER_H_
#define BROKER_EXPORTER_HTTP_SERVER_H_

#include <sys/socket.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "broker/io/fd.h"
#include "proto/control.pb.h"

struct event;
struct event_base;
struct evhttp;
struct evhttp_request;

namespace nvshim::broker {

struct Address {
  sockaddr_storage bytes;
  socklen_t size;
};

// "127.0.0.1:9401", "[::1]:9401".
absl::StatusOr<Address> ParseAddress(const std::string& text);
bool IsLoopback(const Address& address);

struct HttpOptions {
  Address listen{};
  // Asks the broker; may block. Called by one thread at a time.
  std::function<absl::StatusOr<BrokerStatistics>()> ask;
  // An answer is good for that long: however many ask, the broker is asked no more often.
  std::chrono::milliseconds kept{1'000};
  std::string hostname{};
};

class HttpServer {
 public:
  // Binds the address. Requests wait until Run.
  static absl::StatusOr<std::unique_ptr<HttpServer>> Create(HttpOptions options);
  ~HttpServer();

  // Where it listens, with the port that the kernel has chosen where 0 was asked for: "127.0.0.1:9401".
  const std::string& address() const { return address_; }

  // Serves until SIGTERM or SIGINT.
  void Run();

 private:
  using Clock = std::chrono::steady_clock;
  // What an answer of the broker's, or its absence, comes to.
  struct Answer {
    absl::Status status;
    std::string metrics;  // as Prometheus reads them
  };
  using Handler = void (*)(evhttp_request*, const std::shared_ptr<const Answer>&);
  struct Waiting {
    evhttp_request* request;
    Handler handler;
  };

  explicit HttpServer(HttpOptions options) : options_(std::move(options)) {}
  absl::Status Start();
  absl::Status Bind();
  void OnRequest(evhttp_request* request);
  void WithAnswer(evhttp_request* request, Handler handler);
  void OnAnswer();
  std::shared_ptr<const Answer> Ask() const;
  static void ReplyMetrics(evhttp_request* request, const std::shared_ptr<const Answer>& answer);
  static void ReplyReady(evhttp_request* request, const std::shared_ptr<const Answer>& answer);

  using EventBase = std::unique_ptr<event_base, void (*)(event_base*)>;
  using Event = std::unique_ptr<event, void (*)(event*)>;

  const HttpOptions options_;
  std::string address_;
  Fd answered_;  // an eventfd: answer_ is there
  EventBase base_{nullptr, nullptr};
  std::vector<Event> events_;
  std::unique_ptr<evhttp, void (*)(evhttp*)> http_{nullptr, nullptr};
  std::thread asking_;
  std::shared_ptr<const Answer> answer_;  // asking_'s while it runs
  std::optional<Clock::time_point> answered_at_;
  std::vector<Waiting> waiting_;
};

}  // namespace nvshim::broker

#endif  // BROKER_EXPORTER_HTTP_SERVER_H_
