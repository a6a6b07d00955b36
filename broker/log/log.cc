#include "broker/log/log.h"

#include <spdlog/fmt/chrono.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>
#include <mutex>
#include <nlohmann/json.hpp>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_replace.h"
#include "broker/log/line_limit.h"

namespace nvshim::broker {
namespace {

using Json = nlohmann::ordered_json;

struct SeverityNames {
  spdlog::level::level_enum level;
  const char* name;
  const char* journal_prefix;  // sd-daemon(3); the journal takes it off again
};
constexpr std::array<SeverityNames, 4> kSeverities = {{{spdlog::level::debug, "debug", "<7>"},
                                                       {spdlog::level::info, "info", "<6>"},
                                                       {spdlog::level::warn, "warning", "<4>"},
                                                       {spdlog::level::err, "error", "<3>"}}};

const SeverityNames& NamesOf(Severity severity) { return kSeverities[static_cast<size_t>(severity)]; }

// Of this process; set once, before it has threads.
LogFormat format = LogFormat::kText;
std::string process_name = "gpu-broker";
bool to_journal = false;

std::mutex limit_mutex;
LineLimit limit;

// Needs no quotes: what names, versions, numbers and paths are made of.
bool IsPlain(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) ||
           std::string_view("_-./:+@%").find(c) != std::string_view::npos;
  });
}

// RFC 3339, in microseconds.
std::string TimeNow() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const auto us = std::chrono::duration_cast<std::chrono::microseconds>(now).count();
  return fmt::format("{:%FT%T}.{:06}Z", fmt::gmtime(static_cast<time_t>(us / 1'000'000)), us % 1'000'000);
}

// What stands between double quotes has no need to escape the others.
std::string Escaped(std::string_view text) {
  return absl::StrReplaceAll(absl::CHexEscape({text.data(), text.size()}), {{"\\'", "'"}});
}

std::string ValueText(const LogField& field) {
  if (const auto* number = std::get_if<int64_t>(&field.value)) return std::to_string(*number);
  const auto text = std::get<std::string_view>(field.value);
  return IsPlain(text) ? std::string(text) : fmt::format("\"{}\"", Escaped(text));
}

}  // namespace

void StartLog(const std::string& process, const std::string& level, LogFormat wanted) {
  format = wanted;
  process_name = process;
  to_journal = getenv("JOURNAL_STREAM") != nullptr;
  spdlog::set_default_logger(spdlog::stderr_logger_mt(process));
  spdlog::set_pattern("%v");
  spdlog::set_level(spdlog::level::from_str(level));
}

std::string TextOf(Severity severity, std::string_view message, LogFields fields) {
  std::string line = fmt::format("{}[{}] {}: {}", process_name, getpid(), NamesOf(severity).name, message);
  for (const LogField& field : fields) line += fmt::format(" {}={}", field.name, ValueText(field));
  return line;
}

std::string JsonOf(Severity severity, std::string_view message, LogFields fields) {
  Json json = {{"time", TimeNow()},
               {"severity", NamesOf(severity).name},
               {"process", process_name},
               {"pid", getpid()},
               {"message", message}};
  for (const LogField& field : fields)
    std::visit([&](const auto& value) { json[std::string(field.name)] = value; }, field.value);
  // A guest's name need not be UTF-8.
  return json.dump(-1, ' ', /*ensure_ascii=*/true, Json::error_handler_t::replace);
}

void Log(Severity severity, std::string_view message, LogFields fields) {
  const SeverityNames& names = NamesOf(severity);
  if (!spdlog::should_log(names.level)) return;
  const std::string line =
      format == LogFormat::kJson ? JsonOf(severity, message, fields) : TextOf(severity, message, fields);
  spdlog::log(names.level, "{}{}", to_journal ? names.journal_prefix : "", line);
}

void LogOfGuest(std::string_view guest, Severity severity, std::string_view message, LogFields fields) {
  std::optional<uint64_t> left_out;
  {
    const std::lock_guard lock(limit_mutex);
    left_out = limit.Take(guest, LineLimit::Clock::now());
  }
  if (!left_out) return;
  if (*left_out != 0)
    Log(Severity::kWarning, "lines were left out", {{"guest_name", guest}, {"lines", *left_out}});
  Log(severity, message, fields);
}

}  // namespace nvshim::broker
