#include "broker/log/log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

namespace nvshim::broker {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// What a guest's name may hold: a line's end, an escape sequence, quotes, an equals sign, no UTF-8.
constexpr char kHostile[] = "x\n<3>gpu-broker[1] error: \x1b[2J\"guest=1\" \\ \x9b\xff";

TEST(LogTest, ALineNamesProcessSeverityAndFields) {
  const std::string line =
      TextOf(Severity::kWarning, "worker is gone", {{"worker_pid", 12}, {"name", "uid 0 /"}});
  EXPECT_EQ(line, "gpu-broker[" + std::to_string(getpid()) +
                      "] warning: worker is gone worker_pid=12 name=\"uid 0 /\"");
}

TEST(LogTest, OfAFieldNoByteIsWrittenThatEndsAValueALineOrATerminalsPatience) {
  const std::string line = TextOf(Severity::kInfo, "m", {{"name", std::string(kHostile)}, {"number", 7}});
  for (const char c : line) EXPECT_TRUE(c >= ' ' && c < 0x7f) << static_cast<int>(c);
  EXPECT_THAT(line, HasSubstr("\\\"guest=1\\\""));
  EXPECT_THAT(line, HasSubstr("\" number=7"));
}

TEST(LogTest, ASingleQuoteIsNoReasonToEscape) {
  EXPECT_THAT(TextOf(Severity::kInfo, "m", {{"what", "guest 'a' \\"}}),
              HasSubstr(" what=\"guest 'a' \\\\\""));
}

TEST(LogTest, AnEmptyValueIsSeen) {
  EXPECT_THAT(TextOf(Severity::kInfo, "m", {{"name", ""}}), HasSubstr(" name=\"\""));
}

TEST(LogTest, AJsonLineIsOneObjectWithTheSame) {
  const std::string line = JsonOf(Severity::kError, "m", {{"name", std::string(kHostile)}, {"number", -7}});
  EXPECT_THAT(line, Not(HasSubstr("\n")));
  const auto json = nlohmann::json::parse(line);
  EXPECT_EQ(json["severity"], "error");
  EXPECT_EQ(json["message"], "m");
  EXPECT_EQ(json["pid"], getpid());
  EXPECT_EQ(json["number"], -7);
  EXPECT_THAT(json["name"].get<std::string>(), HasSubstr("x\n<3>gpu-broker[1] error: \x1b[2J\"guest=1\""));
  EXPECT_THAT(json["time"].get<std::string>(), HasSubstr("T"));
}

}  // namespace
}  // namespace nvshim::broker
