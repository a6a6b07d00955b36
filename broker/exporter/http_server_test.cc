// Laws of the HTTP side: what is answered when the broker answers, when it is not there and while it is
// stuck; however many ask, the broker is asked once.
#include "broker/exporter/http_server.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <future>
#include <string>
#include <thread>
#include <vector>

#include "broker/io/fd.h"

namespace nvshim::broker {
namespace {

using namespace std::chrono_literals;

class HttpServerTest : public testing::Test {
 protected:
  // SIGTERM, which ends a server, is for the thread that runs it.
  void Start(HttpOptions options) {
    options.listen = *ParseAddress("127.0.0.1:0");
    auto server = HttpServer::Create(std::move(options));
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    running_ = std::thread([this] { server_->Run(); });
  }

  ~HttpServerTest() override {
    if (!running_.joinable()) return;
    kill(getpid(), SIGTERM);
    running_.join();
  }

  Fd Ask(const std::string& path) {
    const auto address = *ParseAddress(server_->address());
    Fd connection(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(connect(connection.get(), reinterpret_cast<const sockaddr*>(&address.bytes), address.size), 0);
    const std::string request = "GET " + path + " HTTP/1.0\r\n\r\n";
    EXPECT_EQ(write(connection.get(), request.data(), request.size()), static_cast<ssize_t>(request.size()));
    return connection;
  }

  static std::string ReadAll(const Fd& connection) {
    std::string text(1 << 16, '\0');
    size_t size = 0;
    for (ssize_t some; (some = read(connection.get(), &text[size], text.size() - size)) > 0;)
      size += static_cast<size_t>(some);
    text.resize(size);
    return text;
  }

  std::string Get(const std::string& path) { return ReadAll(Ask(path)); }

  static int CodeOf(const std::string& answer) {
    return std::atoi(answer.substr(answer.find(' ') + 1).c_str());
  }

  std::unique_ptr<HttpServer> server_;
  std::thread running_;
};

TEST_F(HttpServerTest, BrokerThatAnswers) {
  Start({.ask = [] { return BrokerStatistics(); }});
  const std::string metrics = Get("/metrics");
  EXPECT_EQ(CodeOf(metrics), 200);
  EXPECT_NE(metrics.find("\ngpubroker_up 1\n"), std::string::npos) << metrics;
  EXPECT_NE(metrics.find("text/plain; version=0.0.4"), std::string::npos) << metrics;
  EXPECT_EQ(CodeOf(Get("/healthz")), 200);
  EXPECT_EQ(CodeOf(Get("/readyz")), 200);
  EXPECT_EQ(CodeOf(Get("/")), 404);
  EXPECT_EQ(CodeOf(Get("/metrics?name=x")), 200);
}

TEST_F(HttpServerTest, BrokerThatIsNotThere) {
  Start({.ask = [] { return absl::UnavailableError("nobody listens there"); }});
  const std::string metrics = Get("/metrics");
  EXPECT_EQ(CodeOf(metrics), 200);
  EXPECT_NE(metrics.find("\ngpubroker_up 0\n"), std::string::npos) << metrics;
  EXPECT_EQ(CodeOf(Get("/healthz")), 200);
  const std::string ready = Get("/readyz");
  EXPECT_EQ(CodeOf(ready), 503);
  EXPECT_NE(ready.find("nobody listens there"), std::string::npos) << ready;
}

TEST_F(HttpServerTest, AnAnswerIsKept) {
  std::atomic<int> asked = 0;
  Start({.ask = [&]() -> absl::StatusOr<BrokerStatistics> {
           ++asked;
           return BrokerStatistics();
         },
         .kept = 1h});
  for (const char* path : {"/metrics", "/readyz", "/metrics", "/metrics"}) EXPECT_EQ(CodeOf(Get(path)), 200);
  EXPECT_EQ(asked, 1);
}

TEST_F(HttpServerTest, AnAnswerIsNotKeptForEver) {
  std::atomic<int> asked = 0;
  Start({.ask = [&]() -> absl::StatusOr<BrokerStatistics> {
           if (++asked == 1) return BrokerStatistics();
           return absl::UnavailableError("gone");
         },
         .kept = 0ms});
  EXPECT_EQ(CodeOf(Get("/readyz")), 200);
  EXPECT_EQ(CodeOf(Get("/readyz")), 503);
}

TEST_F(HttpServerTest, ABrokerThatIsStuckIsAskedOnceAndKeepsNobodyElseWaiting) {
  std::atomic<int> asked = 0;
  std::promise<void> stuck, released;
  std::future<void> release = released.get_future();
  Start({.ask = [&]() -> absl::StatusOr<BrokerStatistics> {
           if (++asked == 1) stuck.set_value();
           release.wait();
           return BrokerStatistics();
         },
         .kept = 1h});
  std::vector<Fd> scrapes;
  for (int i = 0; i < 100; ++i) scrapes.push_back(Ask("/metrics"));
  stuck.get_future().wait();
  // More than may wait are told so, and need no answer of the broker's.
  std::vector<size_t> told;
  while (told.size() < 36)
    for (size_t i = 0; i < scrapes.size(); ++i) {
      pollfd entry{scrapes[i].get(), POLLIN, 0};
      if (!scrapes[i].valid() || poll(&entry, 1, 0) != 1) continue;
      EXPECT_EQ(CodeOf(ReadAll(scrapes[i])), 503);
      scrapes[i].Reset();
      told.push_back(i);
    }
  EXPECT_EQ(CodeOf(Get("/healthz")), 200);
  scrapes[told.front() == 0 ? 1 : 0].Reset();  // one hangs up
  released.set_value();
  for (const Fd& scrape : scrapes) {
    if (scrape.valid()) {
      EXPECT_EQ(CodeOf(ReadAll(scrape)), 200);
    }
  }
  EXPECT_EQ(asked, 1);
}

TEST_F(HttpServerTest, EndsWhileTheBrokerIsAsked) {
  std::promise<void> asked, released;
  Start({.ask = [&]() -> absl::StatusOr<BrokerStatistics> {
    asked.set_value();
    released.get_future().wait();
    return BrokerStatistics();
  }});
  const Fd scrape = Ask("/metrics");
  asked.get_future().wait();
  kill(getpid(), SIGTERM);
  running_.join();
  released.set_value();
  server_.reset();
  EXPECT_EQ(ReadAll(scrape), "");
}

TEST(Addresses, OnlyThoseOfThisMachineAreLoopback) {
  for (const char* text : {"127.0.0.1:9401", "127.1.2.3:0", "[::1]:9401"})
    EXPECT_TRUE(IsLoopback(*ParseAddress(text)));
  for (const char* text : {"0.0.0.0:9401", "192.0.2.1:9401", "[::]:9401", "[::ffff:7f00:1]:9401"})
    EXPECT_FALSE(IsLoopback(*ParseAddress(text))) << text;
  for (const char* text :
       {"", "9401", "127.0.0.1", "localhost:9401", "127.0.0.1:x", "[::1]", "127.0.0.1:70000"})
    EXPECT_FALSE(ParseAddress(text).ok()) << text;
}

}  // namespace
}  // namespace nvshim::broker
