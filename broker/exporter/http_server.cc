#include "broker/exporter/http_server.h"

#include <arpa/inet.h>
#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/keyvalq_struct.h>
#include <event2/listener.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string_view>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "broker/exporter/exposition.h"
#include "broker/exporter/metrics.h"

namespace nvshim::broker {
namespace {

// A request is a line and some headers, and says nothing in a body.
constexpr ev_ssize_t kHeadersBytesMax = 16 << 10;
constexpr ev_ssize_t kBodyBytesMax = 0;

// A connection that says nothing for that long is closed; Prometheus comes once a minute or more often, and
// connects again where it has to.
constexpr int kIdleS = 60;

// Requests that wait for one answer of the broker. There are as many Prometheus servers as one has, and each
// asks once at a time.
constexpr size_t kWaitingMax = 64;

// When there are no descriptors left for connections: some will have been closed by then.
constexpr timeval kAcceptPause = {1, 0};

void ReplyPlain(evhttp_request* request, int code, const std::string& line) {
  evhttp_add_header(evhttp_request_get_output_headers(request), "Content-Type", "text/plain; charset=utf-8");
  evbuffer_add_printf(evhttp_request_get_output_buffer(request), "%s\n", line.c_str());
  evhttp_send_reply(request, code, nullptr, nullptr);
}

std::string TextOf(const sockaddr_storage& address) {
  char host[INET6_ADDRSTRLEN] = "";
  if (address.ss_family == AF_INET6) {
    const auto& in6 = reinterpret_cast<const sockaddr_in6&>(address);
    inet_ntop(AF_INET6, &in6.sin6_addr, host, sizeof(host));
    return absl::StrCat("[", host, "]:", ntohs(in6.sin6_port));
  }
  const auto& in = reinterpret_cast<const sockaddr_in&>(address);
  inet_ntop(AF_INET, &in.sin_addr, host, sizeof(host));
  return absl::StrCat(host, ":", ntohs(in.sin_port));
}

}  // namespace

absl::StatusOr<Address> ParseAddress(const std::string& text) {
  const size_t colon = text.rfind(':');
  std::string host = text.substr(0, colon);
  const bool is_in6 = host.size() > 2 && host.front() == '[' && host.back() == ']';
  if (is_in6) host = host.substr(1, host.size() - 2);
  uint32_t port = 0;
  Address address{};
  auto& in6 = reinterpret_cast<sockaddr_in6&>(address.bytes);
  auto& in = reinterpret_cast<sockaddr_in&>(address.bytes);
  if (colon == std::string::npos || !absl::SimpleAtoi(text.substr(colon + 1), &port) || port > UINT16_MAX ||
      inet_pton(is_in6 ? AF_INET6 : AF_INET, host.c_str(),
                is_in6 ? static_cast<void*>(&in6.sin6_addr) : &in.sin_addr) != 1)
    return absl::InvalidArgumentError(
        absl::StrCat("'", text, "' is no ADDRESS:PORT, as 127.0.0.1:9401 or [::1]:9401 is"));
  address.bytes.ss_family = is_in6 ? AF_INET6 : AF_INET;
  (is_in6 ? in6.sin6_port : in.sin_port) = htons(static_cast<uint16_t>(port));
  address.size = is_in6 ? sizeof(in6) : sizeof(in);
  return address;
}

bool IsLoopback(const Address& address) {
  if (address.bytes.ss_family == AF_INET6) {
    const auto& in6 = reinterpret_cast<const sockaddr_in6&>(address.bytes);
    return IN6_IS_ADDR_LOOPBACK(&in6.sin6_addr);
  }
  const auto& in = reinterpret_cast<const sockaddr_in&>(address.bytes);
  return ntohl(in.sin_addr.s_addr) >> 24 == 127;
}

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Create(HttpOptions options) {
  std::unique_ptr<HttpServer> server(new HttpServer(std::move(options)));
  if (auto status = server->Start(); !status.ok()) return status;
  return server;
}

HttpServer::~HttpServer() {
  if (asking_.joinable()) asking_.join();
}

absl::Status HttpServer::Start() {
  signal(SIGPIPE, SIG_IGN);  // a client that hangs up is no reason to end
  base_ = EventBase(event_base_new(), event_base_free);
  answered_ = Fd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (base_ == nullptr || !answered_.valid()) return absl::ErrnoToStatus(errno, "no event loop");
  http_ = {evhttp_new(base_.get()), evhttp_free};
  if (http_ == nullptr) return absl::ResourceExhaustedError("no HTTP server");
  evhttp_set_allowed_methods(http_.get(), EVHTTP_REQ_GET);
  evhttp_set_max_headers_size(http_.get(), kHeadersBytesMax);
  evhttp_set_max_body_size(http_.get(), kBodyBytesMax);
  evhttp_set_timeout(http_.get(), kIdleS);
  evhttp_set_gencb(
      http_.get(),
      [](evhttp_request* request, void* self) { static_cast<HttpServer*>(self)->OnRequest(request); }, this);
  const auto add = [this](evutil_socket_t fd, short what, event_callback_fn callback) {
    events_.emplace_back(event_new(base_.get(), fd, static_cast<short>(what | EV_PERSIST), callback, this),
                         event_free);
    event_add(events_.back().get(), nullptr);
  };
  add(answered_.get(), EV_READ,
      [](evutil_socket_t, short, void* self) { static_cast<HttpServer*>(self)->OnAnswer(); });
  for (const int signal : {SIGTERM, SIGINT})
    add(signal, EV_SIGNAL, [](evutil_socket_t, short, void* self) {
      event_base_loopbreak(static_cast<HttpServer*>(self)->base_.get());
    });
  return Bind();
}

absl::Status HttpServer::Bind() {
  const auto* const address = reinterpret_cast<const sockaddr*>(&options_.listen.bytes);
  evconnlistener* const listener = evconnlistener_new_bind(
      base_.get(), nullptr, nullptr, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC | LEV_OPT_REUSEABLE,
      SOMAXCONN, address, static_cast<int>(options_.listen.size));
  if (listener == nullptr)
    return absl::ErrnoToStatus(errno, absl::StrCat("cannot listen at ", TextOf(options_.listen.bytes)));
  if (evhttp_bind_listener(http_.get(), listener) == nullptr) {
    evconnlistener_free(listener);
    return absl::ResourceExhaustedError("no HTTP server");
  }
  evconnlistener_set_error_cb(listener, [](evconnlistener* failing, void*) {
    evconnlistener_disable(failing);
    event_base_once(
        evconnlistener_get_base(failing), -1, EV_TIMEOUT,
        [](evutil_socket_t, short, void* paused) {
          evconnlistener_enable(static_cast<evconnlistener*>(paused));
        },
        failing, &kAcceptPause);
  });
  sockaddr_storage bound{};
  socklen_t size = sizeof(bound);
  getsockname(evconnlistener_get_fd(listener), reinterpret_cast<sockaddr*>(&bound), &size);
  address_ = TextOf(bound);
  return absl::OkStatus();
}

void HttpServer::Run() { event_base_dispatch(base_.get()); }

void HttpServer::OnRequest(evhttp_request* request) {
  const char* const path = evhttp_uri_get_path(evhttp_request_get_evhttp_uri(request));
  const std::string_view asked = path == nullptr ? "" : path;
  if (asked == "/healthz") return ReplyPlain(request, HTTP_OK, "ok");
  if (asked == "/metrics") return WithAnswer(request, ReplyMetrics);
  if (asked == "/readyz") return WithAnswer(request, ReplyReady);
  ReplyPlain(request, HTTP_NOTFOUND, "there are /metrics, /healthz and /readyz");
}

// The answer that is there, if it is young enough, or the next one.
void HttpServer::WithAnswer(evhttp_request* request, Handler handler) {
  if (!asking_.joinable() && answered_at_ && Clock::now() - *answered_at_ < options_.kept)
    return handler(request, answer_);
  if (waiting_.size() >= kWaitingMax)
    return ReplyPlain(request, HTTP_SERVUNAVAIL, "too many wait for the broker's answer");
  waiting_.push_back({request, handler});
  if (asking_.joinable()) return;
  asking_ = std::thread([this] {
    answer_ = Ask();
    eventfd_write(answered_.get(), 1);
  });
}

std::shared_ptr<const HttpServer::Answer> HttpServer::Ask() const {
  const auto statistics = options_.ask();
  return std::make_shared<const Answer>(Answer{
      statistics.status(),
      ExpositionText(Collect(statistics.ok() ? &*statistics : nullptr, options_.hostname)),
  });
}

void HttpServer::OnAnswer() {
  eventfd_t count;
  eventfd_read(answered_.get(), &count);
  asking_.join();
  answered_at_ = Clock::now();
  for (const Waiting& one : std::exchange(waiting_, {})) one.handler(one.request, answer_);
}

// All who are told the same share the text, which of many guests is some megabytes.
void HttpServer::ReplyMetrics(evhttp_request* request, const std::shared_ptr<const Answer>& answer) {
  using Shared = std::shared_ptr<const Answer>;
  evhttp_add_header(evhttp_request_get_output_headers(request), "Content-Type", kExpositionType);
  evbuffer_add_reference(
      evhttp_request_get_output_buffer(request), answer->metrics.data(), answer->metrics.size(),
      [](const void*, size_t, void* shared) { delete static_cast<Shared*>(shared); }, new Shared(answer));
  evhttp_send_reply(request, HTTP_OK, nullptr, nullptr);
}

void HttpServer::ReplyReady(evhttp_request* request, const std::shared_ptr<const Answer>& answer) {
  if (answer->status.ok()) return ReplyPlain(request, HTTP_OK, "ready");
  ReplyPlain(request, HTTP_SERVUNAVAIL, std::string(answer->status.message()));
}

}  // namespace nvshim::broker
