// gpu-brokerctl info, reload and drain: about the broker as a whole.
#include <time.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "broker/ctl/subcommands.h"
#include "broker/supervisor/control_client.h"

namespace nvshim::broker::ctl {
namespace {

using Json = nlohmann::ordered_json;

std::string TimeText(int64_t unix_s) {
  const time_t seconds = unix_s;
  tm local;
  char text[64];
  if (localtime_r(&seconds, &local) == nullptr || strftime(text, sizeof(text), "%F %T %z", &local) == 0)
    return "?";
  return text;
}

std::string InfoText(const BrokerInfo& info) {
  const std::vector<std::string> files(info.config_files().begin(), info.config_files().end());
  return absl::StrCat("version        ", info.version(), "\npid            ", info.pid(), "\ndriver         ",
                      info.driver(), " ", info.driver_version(), "\nsocket         ", info.socket(),
                      "\nsettings from  ", files.empty() ? "no file" : absl::StrJoin(files, " "),
                      "\nread           ", TimeText(info.settings_read_unix_s()), "\nrunning since  ",
                      TimeText(info.started_unix_s()),
                      info.draining() ? "\nis stopping: takes no new guests\n" : "\n");
}

std::string InfoJson(const BrokerInfo& info) {
  const Json json = {
      {"version", info.version()},
      {"pid", info.pid()},
      {"driver", info.driver()},
      {"driver_version", info.driver_version()},
      {"socket", info.socket()},
      {"config_files", std::vector<std::string>(info.config_files().begin(), info.config_files().end())},
      {"started_unix_s", info.started_unix_s()},
      {"settings_read_unix_s", info.settings_read_unix_s()},
      {"draining", info.draining()}};
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

int Info(const Common& common, bool as_json) {
  ControlRequest request;
  request.mutable_info();
  const auto reply = Ask(common.socket, request);
  if (!reply.ok()) return Fail(reply.status());
  return Print(as_json ? InfoJson(reply->info()) : InfoText(reply->info()));
}

int Reload(const Common& common, bool as_json) {
  ControlRequest request;
  request.mutable_reload();
  const auto reply = Ask(common.socket, request);
  if (!reply.ok()) return Fail(reply.status());
  const std::vector<std::string> later(reply->from_next_start().begin(), reply->from_next_start().end());
  if (as_json) return Print(Json{{"from_next_start", later}}.dump(2) + "\n");
  return Print(absl::StrCat(reply->done(), "\n", later.empty() ? "" : "counts from the next start: ",
                            absl::StrJoin(later, ", "), later.empty() ? "" : "\n"));
}

int Drain(const Common& common, std::optional<uint32_t> within_ms) {
  ControlRequest request;
  request.mutable_drain();
  if (within_ms) request.mutable_drain()->set_within_ms(*within_ms);
  const auto reply = Ask(common.socket, request);
  return reply.ok() ? Print(reply->done() + "\n") : Fail(reply.status());
}

// A subcommand that has no option but --json.
void AddWithJson(CLI::App& app, Common* common, const char* name, const char* what,
                 int (*run)(const Common& common, bool as_json)) {
  const auto as_json = std::make_shared<bool>(false);
  CLI::App* command = app.add_subcommand(name, what);
  command->add_flag("--json", *as_json, "Print JSON");
  command->callback([=] { common->asked.run = [=] { return run(*common, *as_json); }; });
}

}  // namespace

void AddInfo(CLI::App& app, Common* common) {
  AddWithJson(app, common, "info", "Print what the running broker is, and where its settings are from", Info);
}

void AddReload(CLI::App& app, Common* common) {
  AddWithJson(app, common, "reload", "Read the settings again: limits and policy of guests that run", Reload);
}

void AddDrain(CLI::App& app, Common* common) {
  const auto within_ms = std::make_shared<std::optional<uint32_t>>();
  CLI::App* drain = app.add_subcommand("drain", "Take no new guests, and end when the last one has left");
  drain->add_option("--within-ms", *within_ms,
                    "End after so long at the latest; the broker's --drain-ms unless given");
  drain->callback([=] { common->asked.run = [=] { return Drain(*common, *within_ms); }; });
}

}  // namespace nvshim::broker::ctl
