#include "broker/cli/description.h"

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace nvshim::broker {
namespace {

using Json = nlohmann::json;

class DescriptionTest : public ::testing::Test {
 protected:
  Json Describe() { return Json::parse(DescriptionJson(app_)); }

  // The only option but --help.
  Json Option() { return Describe()["options"][1]; }

  CLI::App app_{"does things", "thing"};
  std::string text_ = "sim";
  std::vector<std::string> texts_;
  bool flag_ = false;
};

TEST_F(DescriptionTest, ChoicesAndDefaultOfAnOption) {
  app_.add_option("-d,--driver", text_, "Which")
      ->check(CLI::IsMember({"sim", "kernel"}))
      ->capture_default_str();
  EXPECT_EQ(Option(), Json::parse(R"({"names": ["-d", "--driver"], "description": "Which", "value": "TEXT",
      "choices": ["sim", "kernel"], "default": "sim", "repeatable": false, "setting": true})"));
}

TEST_F(DescriptionTest, KindsOfOptions) {
  app_.add_option("--path", text_, "Where")->type_name("PATH")->configurable(false);
  EXPECT_EQ(Option()["value"], "PATH");
  EXPECT_EQ(Option()["setting"], false);
  app_.add_option("--many", texts_, "Which");
  EXPECT_EQ(Describe()["options"][2]["repeatable"], true);
  app_.add_flag("--flag", flag_, "Whether");
  EXPECT_FALSE(Describe()["options"][3].contains("value"));
}

TEST_F(DescriptionTest, WhatIsHiddenIsNotTold) {
  app_.add_option("--secret", text_, "Which")->group("");
  app_.add_subcommand("inner", "Used by itself")->group("");
  AddDescribeFlag(app_);
  EXPECT_EQ(Describe()["options"].size(), 1u);
  EXPECT_TRUE(Describe()["subcommands"].empty());
}

TEST_F(DescriptionTest, SubcommandsAreInside) {
  app_.add_subcommand("abi", "About tables")->add_subcommand("list", "Print them")->add_flag("--json", flag_);
  const Json list = Describe()["subcommands"][0]["subcommands"][0];
  EXPECT_EQ(list["name"], "list");
  EXPECT_EQ(list["options"][1]["names"], Json({"--json"}));
}

TEST_F(DescriptionTest, TheFlagEndsTheProgramEvenWhereASubcommandIsMissing) {
  app_.add_subcommand("abi", "About tables");
  app_.require_subcommand(1);
  AddDescribeFlag(app_);
  try {
    app_.parse("--describe");
    ADD_FAILURE() << "the program goes on";
  } catch (const CLI::ParseError& end) {
    EXPECT_EQ(app_.exit(end), 0);
  }
}

}  // namespace
}  // namespace nvshim::broker
