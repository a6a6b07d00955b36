// The log: lines for people on standard error, or one JSON object a line for programs. What a line is about,
// and all that a guest can choose, stands in fields: there it is escaped, so that nobody writes lines of
// others. Any thread may log.
#ifndef BROKER_LOG_LOG_H_
#define BROKER_LOG_LOG_H_

#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <variant>

namespace nvshim::broker {

enum class Severity { kDebug, kInfo, kWarning, kError };
enum class LogFormat { kText, kJson };

struct LogField {
  template <std::integral T>
  LogField(std::string_view name, T value) : name(name), value(static_cast<int64_t>(value)) {}
  LogField(std::string_view name, std::string_view value) : name(name), value(value) {}
  LogField(std::string_view name, const char* value) : name(name), value(value) {}
  LogField(std::string_view name, const std::string& value) : name(name), value(value) {}

  std::string_view name;
  std::variant<int64_t, std::string_view> value;
};
using LogFields = std::initializer_list<LogField>;

// Names the process in each line. `level` as spdlog has it: trace, debug, info, warn, err, critical, off.
// Before this, lines are text.
void StartLog(const std::string& process, const std::string& level, LogFormat format);

// `message` is the broker's own words.
void Log(Severity severity, std::string_view message, LogFields fields = {});

// A line that guest `guest` has caused and may cause again: of these each guest has as many as LineLimit
// says.
void LogOfGuest(std::string_view guest, Severity severity, std::string_view message, LogFields fields = {});

// One line, without its end, in either format. Logging is made of these.
std::string TextOf(Severity severity, std::string_view message, LogFields fields);
std::string JsonOf(Severity severity, std::string_view message, LogFields fields);

}  // namespace nvshim::broker

#endif  // BROKER_LOG_LOG_H_
