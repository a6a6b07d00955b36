// gpu-brokerctl stats: all that a broker counts, as JSON.
#include "broker/ctl/subcommands.h"
#include "broker/supervisor/control_client.h"
#include "broker/supervisor/statistics_json.h"

namespace nvshim::broker::ctl {

void AddStats(CLI::App& app, Common* common) {
  app.add_subcommand("stats", "Print the statistics of a running broker as JSON")->callback([=] {
    common->asked.run = [=] {
      const auto statistics = AskStatistics(common->socket);
      return statistics.ok() ? Print(StatisticsJson(*statistics) + "\n") : Fail(statistics.status());
    };
  });
}

}  // namespace nvshim::broker::ctl
