// gpu-brokerctl guests: who they are, and what an operator may do with them while the broker runs.
#include <filesystem>
#include <memory>
#include <vector>

#include "broker/ctl/guests_view.h"
#include "broker/ctl/subcommands.h"
#include "broker/limits_command.h"
#include "broker/supervisor/control_client.h"

namespace nvshim::broker::ctl {
namespace {

struct Options {
  bool as_json = false;
  std::string guest;
  std::string path;
  std::string memory_bytes;
  std::vector<std::string> limits;  // KIND=N
  bool is_forced = false;           // of remove, and of limit: to forget
};

int List(const Common& common, const Options& options) {
  const auto statistics = AskStatistics(common.socket);
  if (!statistics.ok()) return Fail(statistics.status());
  return Print(options.as_json ? GuestsJson(*statistics) : GuestsText(*statistics));
}

// Asks, and prints what the broker says that it has done.
int Tell(const Common& common, const ControlRequest& request) {
  const auto reply = Ask(common.socket, request);
  return reply.ok() ? Print(reply->done() + "\n") : Fail(reply.status());
}

void PutLimits(const std::vector<std::string>& values,
               google::protobuf::RepeatedPtrField<OwnLimit>* message) {
  for (const std::string& value : values) {
    const auto limit = ParseLimit(value, /*is_uid=*/false);
    if (!limit.ok()) continue;  // CLI11 has checked it
    OwnLimit* own = message->Add();
    own->set_kind(std::string(InfoOf(limit->kind).name));
    own->set_limit(limit->limit);
  }
}

int Add(const Common& common, const Options& options) {
  ControlRequest request;
  AddGuestRequest* add = request.mutable_add();
  add->set_name(options.guest);
  if (!options.path.empty()) add->set_socket(std::filesystem::absolute(options.path));
  if (!options.memory_bytes.empty())
    PutLimits({"video_memory=" + options.memory_bytes}, add->mutable_limits());
  PutLimits(options.limits, add->mutable_limits());
  return Tell(common, request);
}

int Limit(const Common& common, const Options& options) {
  ControlRequest request;
  request.mutable_limit()->set_guest(options.guest);
  request.mutable_limit()->set_forget(options.is_forced);
  PutLimits(options.limits, request.mutable_limit()->mutable_limits());
  return Tell(common, request);
}

int Remove(const Common& common, const Options& options) {
  ControlRequest request;
  request.mutable_remove()->set_guest(options.guest);
  request.mutable_remove()->set_force(options.is_forced);
  return Tell(common, request);
}

int Kill(const Common& common, const Options& options) {
  ControlRequest request;
  request.mutable_kill()->set_guest(options.guest);
  return Tell(common, request);
}

}  // namespace

void AddGuests(CLI::App& app, Common* common) {
  CLI::App* guests =
      app.add_subcommand("guests", "Who the guests are, and what they may have")->require_subcommand(1);
  const auto options = std::make_shared<Options>();
  const auto add_command = [&](const char* name, const char* what,
                               int (*run)(const Common&, const Options&)) {
    CLI::App* command = guests->add_subcommand(name, what);
    command->callback([=] { common->asked.run = [=] { return run(*common, *options); }; });
    return command;
  };
  const auto add_limits = [&](CLI::App* command, const char* name) {
    return command
        ->add_option(
            name, options->limits,
            "The most of a kind that it may have, as in objects=1000 or pinned_memory=4GiB; none is no "
            "limit. gpu-brokerctl limits list prints the kinds")
        ->check(LimitValidator(/*is_uid=*/false));
  };

  add_command("list", "Print who is there, and who has a socket or limits of its own", List)
      ->add_flag("--json", options->as_json, "Print JSON");

  CLI::App* add = add_command(
      "add", "Make one more socket, until the broker is stopped: who connects there is the guest", Add);
  add->add_option("NAME", options->guest, "Of the guest")->required();
  add->add_option("--at", options->path,
                  "Where the socket is; guests/NAME.sock beside the broker's unless given")
      ->type_name("PATH");
  add->add_option("--mem", options->memory_bytes, "Video memory that it may have: --limit video_memory=SIZE")
      ->transform(CLI::Validator(ToBytes, "SIZE"));
  add_limits(add, "--limit")->allow_extra_args(false);

  CLI::App* limit =
      add_command("limit", "Change what one guest may have, until the broker is stopped", Limit);
  limit->add_option("GUEST", options->guest, "Its name or its number")->required();
  CLI::Option* values = add_limits(limit, "KIND=N");
  CLI::Option* forget =
      limit->add_flag("--forget", options->is_forced, "First forget the limits that it was given");
  limit->callback([=] {
    if (values->empty() && forget->empty()) throw CLI::RequiredError("KIND=N or --forget");
    common->asked.run = [=] { return Limit(*common, *options); };
  });

  CLI::App* remove = add_command("remove", "Close the socket of a guest that was added", Remove);
  remove->add_option("NAME", options->guest, "Of the guest")->required();
  remove->add_flag("--force", options->is_forced, "Also when it is there: it loses its device");

  add_command("kill", "Take the device from a guest's processes, and free what it holds", Kill)
      ->add_option("GUEST", options->guest, "Its name or its number")
      ->required();
}

}  // namespace nvshim::broker::ctl
