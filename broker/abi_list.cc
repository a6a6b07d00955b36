#include "broker/abi_list.h"

#include <algorithm>
#include <memory>

#include "absl/strings/str_format.h"
#include "proto/abi/spec.h"

namespace nvshim::broker {
namespace {

size_t CountWithheld(const abi::Table& table) {
  size_t count = 0;
  for (const abi::SpecList* specs : {&table.escapes, &table.controls, &table.classes, &table.uvm})
    for (const abi::Spec& spec : *specs) count += spec.withheld;
  return count;
}

}  // namespace

std::string AbiListText() {
  std::string text = absl::StrFormat("%-12s %9s %9s %9s %9s %9s\n", "driver", "escapes", "controls",
                                     "classes", "uvm", "withheld");
  for (const abi::Table* table : abi::Tables())
    absl::StrAppendFormat(&text, "%-12s %9d %9d %9d %9d %9d\n", std::string(table->driver_version),
                          table->escapes.size, table->controls.size, table->classes.size, table->uvm.size,
                          CountWithheld(*table));
  return text;
}

std::string AbiListJson() {
  std::string json = "[";
  for (const abi::Table* table : abi::Tables())
    absl::StrAppendFormat(
        &json,
        "%s\n {\"driver_version\": \"%s\", \"escapes\": %d, \"controls\": %d, \"classes\": %d, "
        "\"uvm\": %d, \"withheld\": %d}",
        json.size() == 1 ? "" : ",", std::string(table->driver_version), table->escapes.size,
        table->controls.size, table->classes.size, table->uvm.size, CountWithheld(*table));
  return json + "\n]\n";
}

void AddAbiCommand(CLI::App& app, AskedCommand* asked) {
  CLI::App* abi = app.add_subcommand("abi", "What is known of driver versions")->require_subcommand(1);
  CLI::App* list = abi->add_subcommand("list", "Print the driver versions that have tables");
  const auto as_json = std::make_shared<bool>(false);
  list->add_flag("--json", *as_json, "Print JSON");
  list->callback([=] { asked->run = [=] { return Print(*as_json ? AbiListJson() : AbiListText()); }; });
}

}  // namespace nvshim::broker
