// gpu-brokerctl doctor: what the checks of doctor.h find, for people or as JSON.
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "broker/ctl/doctor.h"
#include "broker/ctl/linux_machine.h"
#include "broker/ctl/subcommands.h"

namespace nvshim::broker::ctl {
namespace {

struct Options {
  std::string driver;
  bool json = false;
};

const char* NameOf(Health health) {
  return health == Health::kOk ? "ok" : health == Health::kWarn ? "warn" : "fail";
}

std::string TextOf(const Check& check, const Finding& finding) {
  std::string text =
      absl::StrFormat("%-5s %-15s %s\n", NameOf(finding.health), std::string(check.name), finding.seen);
  if (!finding.remedy.empty()) absl::StrAppend(&text, std::string(22, ' '), "remedy: ", finding.remedy, "\n");
  return text;
}

nlohmann::ordered_json JsonOf(const Check& check, const Finding& finding) {
  return {{"check", std::string(check.name)},
          {"health", NameOf(finding.health)},
          {"seen", finding.seen},
          {"remedy", finding.remedy}};
}

int Diagnose(const std::string& socket, const Options& options) {
  const auto machine = MakeLinuxMachine(socket);
  const Subject subject = Examine(*machine, socket, options.driver);
  auto findings = nlohmann::ordered_json::array();
  std::string text;
  size_t failed = 0, warned = 0;
  for (const Check& check : Checks()) {
    const Finding finding = check.look(subject);
    failed += finding.health == Health::kFail;
    warned += finding.health == Health::kWarn;
    text += TextOf(check, finding);
    findings.push_back(JsonOf(check, finding));
  }
  absl::StrAppend(&text, Checks().size(), " checks, ", failed, " failed, ", warned, " with a warning\n");
  const nlohmann::ordered_json json = {{"failed", failed}, {"warned", warned}, {"findings", findings}};
  const int printed =
      Print(options.json ? json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n" : text);
  return failed > 0 ? 1 : printed;
}

}  // namespace

void AddDoctor(CLI::App& app, Common* common) {
  CLI::App* const doctor =
      app.add_subcommand("doctor", "Say what this machine lacks for the broker and its guests");
  const auto options = std::make_shared<Options>();
  doctor->add_flag("--json", options->json, "Print JSON");
  doctor
      ->add_option("--driver", options->driver,
                   "What the broker is to run on: sim or kernel (that of the broker that runs)")
      ->check(CLI::IsMember({"sim", "kernel"}));
  doctor->callback([=] { common->asked.run = [=] { return Diagnose(common->socket, *options); }; });
}

}  // namespace nvshim::broker::ctl
