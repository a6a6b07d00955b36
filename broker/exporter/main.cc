// gpu-broker-exporter: tells Prometheus what the broker counts. It asks over the control socket, as an
// operator does, so that the broker itself needs no network.
#include <limits.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "broker/cli/description.h"
#include "broker/command.h"
#include "broker/default_socket.h"
#include "broker/exporter/exposition.h"
#include "broker/exporter/http_server.h"
#include "broker/exporter/metrics.h"
#include "broker/log/log.h"
#include "broker/supervisor/control_client.h"
#include "broker/version.h"

namespace nvshim::broker {
namespace {

constexpr char kDefaultListen[] = "127.0.0.1:9401";

struct Flags {
  std::string listen = kDefaultListen;
  bool allow_remote = false;
  std::string socket = kDefaultSocket;
  bool list_metrics = false;
};

std::string Hostname() {
  char name[HOST_NAME_MAX + 1] = "";
  gethostname(name, HOST_NAME_MAX);
  return name;
}

int Serve(const Flags& flags) {
  const auto listen = ParseAddress(flags.listen);
  if (!listen.ok()) return Fail(listen.status());
  if (!IsLoopback(*listen) && !flags.allow_remote)
    return Fail(absl::InvalidArgumentError(
        absl::StrCat("--listen=", flags.listen,
                     ": other machines could read who uses this one's GPU; --allow-remote lets them")));
  auto server = HttpServer::Create({.listen = *listen,
                                    .ask = [socket = flags.socket] { return AskStatistics(socket); },
                                    .hostname = Hostname()});
  if (!server.ok()) return Fail(server.status());
  Log(Severity::kInfo, "serving /metrics, /healthz and /readyz", {{"address", (*server)->address()}});
  (*server)->Run();
  return 0;
}

int Main(int argc, char** argv) {
  Flags flags;
  CLI::App app("Serves the statistics of a running gpu-broker to Prometheus.", "gpu-broker-exporter");
  app.set_version_flag("--version", kVersion);
  AddDescribeFlag(app);
  app.add_option("--listen", flags.listen, "Where to serve /metrics, /healthz and /readyz")
      ->type_name("ADDRESS:PORT")
      ->capture_default_str();
  app.add_flag("--allow-remote", flags.allow_remote,
               "Let --listen be an address that other machines can reach");
  app.add_option("--socket", flags.socket, "The running broker's --socket")
      ->type_name("PATH")
      ->capture_default_str();
  app.add_flag("--list-metrics", flags.list_metrics, "Print the table of docs/metrics.md, and exit");
  CLI11_PARSE(app, argc, argv);
  if (flags.list_metrics) return std::fputs(FamiliesMarkdown(Collect(nullptr, "")).c_str(), stdout) < 0;
  StartLog("gpu-broker-exporter", "info", LogFormat::kText);
  return Serve(flags);
}

}  // namespace
}  // namespace nvshim::broker

int main(int argc, char** argv) { return nvshim::broker::Main(argc, argv); }
