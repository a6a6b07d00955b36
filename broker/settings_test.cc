#include "broker/settings.h"

#include <filesystem>
#include <fstream>
#include <map>

#include "gtest/gtest.h"

namespace nvshim::broker {
namespace {

class SettingsTest : public ::testing::Test {
 protected:
  SettingsTest() : file_(std::string(::testing::TempDir()) + "/settings_test.toml") {
    app_.add_option("--mem-quota", quota_)->transform(CLI::AsSizeValue(/*kb_is_1000=*/false));
    app_.add_option("--guest-socket", sockets_);
    app_.add_option("--driver", driver_)->check(CLI::IsMember({"sim", "kernel"}));
    app_.add_flag("--policy-shadow", shadow_);
    app_.add_option("--ready-fd", ready_fd_)->configurable(false);
  }

  ~SettingsTest() override {
    std::filesystem::remove(file_);
    std::filesystem::remove_all(file_ + ".d");
  }

  void Write(const std::string& path, const std::string& text) { std::ofstream(path) << text; }

  // What is wrong; empty when nothing is.
  std::string Apply(const std::vector<std::string>& flags = {}) {
    std::vector<std::string> reversed(flags.rbegin(), flags.rend());
    app_.parse(reversed);
    auto files = ReadConfigFiles(*FindConfigFiles(file_, /*may_be_missing=*/true));
    if (!files.ok()) return std::string(files.status().message());
    const auto status = ApplySettings(app_, *files, [&](const char* name) {
      const auto it = environment_.find(name);
      return it == environment_.end() ? nullptr : it->second.c_str();
    });
    return std::string(status.message());
  }

  std::string file_;
  std::map<std::string, std::string> environment_;
  CLI::App app_;
  uint64_t quota_ = 0;
  std::vector<std::string> sockets_;
  std::string driver_ = "sim";
  bool shadow_ = false;
  int ready_fd_ = -1;
};

TEST_F(SettingsTest, AFileSaysWhatFlagsSay) {
  Write(file_,
        "mem-quota = '1GiB'\nguest-socket = ['a=/a', 'b=/b']\ndriver = 'kernel'\npolicy-shadow = true\n");
  EXPECT_EQ(Apply(), "");
  EXPECT_EQ(quota_, 1u << 30);
  EXPECT_EQ(sockets_, (std::vector<std::string>{"a=/a", "b=/b"}));
  EXPECT_EQ(driver_, "kernel");
  EXPECT_TRUE(shadow_);
}

TEST_F(SettingsTest, FlagsThenEnvironmentThenFileThenDefault) {
  Write(file_, "mem-quota = 1\n");
  EXPECT_EQ(Apply(), "");
  EXPECT_EQ(quota_, 1u);
  environment_["GPU_BROKER_MEM_QUOTA"] = "2";
  EXPECT_EQ(Apply(), "");
  EXPECT_EQ(quota_, 2u);
  EXPECT_EQ(Apply({"--mem-quota=3"}), "");
  EXPECT_EQ(quota_, 3u);
  EXPECT_EQ(driver_, "sim");
}

TEST_F(SettingsTest, TheLastDropInCounts) {
  std::filesystem::create_directory(file_ + ".d");
  Write(file_, "mem-quota = 1\ndriver = 'kernel'\n");
  Write(file_ + ".d/20-b.toml", "mem-quota = 3\n");
  Write(file_ + ".d/10-a.toml", "mem-quota = 2\n");
  Write(file_ + ".d/30-c.toml.old", "mem-quota = 4\n");
  EXPECT_EQ(Apply(), "");
  EXPECT_EQ(quota_, 3u);
  EXPECT_EQ(driver_, "kernel");
}

TEST_F(SettingsTest, ComplaintsNameFileAndLineAndWhatWouldBeRight) {
  Write(file_, "driver = 'sim'\nmem-qouta = 1\n");
  EXPECT_EQ(Apply(), file_ + ":2: there is no setting 'mem-qouta'; do you mean 'mem-quota'?");
  Write(file_, "\n\ndriver = 'simulated'\n");
  std::string complaint = Apply();
  EXPECT_EQ(complaint.find(file_ + ":3: "), 0u) << complaint;
  EXPECT_NE(complaint.find("kernel"), std::string::npos) << complaint;
  Write(file_, "mem-quota = 'much'\n");
  complaint = Apply();
  EXPECT_EQ(complaint.find(file_ + ":1: "), 0u) << complaint;
  Write(file_, "mem-quota = 1\nmem-quota = 2\n");
  complaint = Apply();
  EXPECT_EQ(complaint.find(file_ + ":2: "), 0u) << complaint;
  Write(file_, "[guests]\na = 1\n");
  complaint = Apply();
  EXPECT_EQ(complaint.find(file_ + ":1: 'guests' wants a value"), 0u) << complaint;
}

TEST_F(SettingsTest, ComplaintsNameTheVariable) {
  environment_["GPU_BROKER_DRIVER"] = "simulated";
  const std::string complaint = Apply();
  EXPECT_EQ(complaint.find("GPU_BROKER_DRIVER: "), 0u) << complaint;
}

TEST_F(SettingsTest, WhatBelongsToOneStartIsNoSetting) {
  Write(file_, "ready-fd = 3\n");
  EXPECT_NE(Apply().find("there is no setting 'ready-fd'"), std::string::npos);
  Write(file_, "");
  environment_["GPU_BROKER_READY_FD"] = "3";
  EXPECT_EQ(Apply(), "");
  EXPECT_EQ(ready_fd_, -1);
}

TEST_F(SettingsTest, AFileThatWasNamedMustBeThere) {
  EXPECT_EQ(Apply(), "");
  const auto settings = FindConfigFiles(file_, /*may_be_missing=*/false);
  ASSERT_FALSE(settings.ok());
  EXPECT_NE(settings.status().message().find(file_), std::string::npos);
}

}  // namespace
}  // namespace nvshim::broker
