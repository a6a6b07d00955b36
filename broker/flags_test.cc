// Laws of reading the flags again: what the command line says still wins, what is read is checked whole, and
// settings that a running broker keeps are named.
#include "broker/flags.h"

#include <filesystem>
#include <fstream>

#include "gtest/gtest.h"
#include "proto/abi/spec.h"

namespace nvshim::broker {
namespace {

class FlagsTest : public ::testing::Test {
 protected:
  FlagsTest() : file_(std::string(::testing::TempDir()) + "/flags_test.toml") {}
  ~FlagsTest() override { std::filesystem::remove(file_); }

  void Write(const std::string& text) { std::ofstream(file_) << text; }

  // The command line of a broker that starts.
  void Start(std::vector<std::string> arguments = {}) {
    arguments.insert(arguments.begin(), {"gpu-broker", "--config=" + file_});
    arguments_ = std::move(arguments);
    for (std::string& argument : arguments_) argv_.push_back(argument.data());
    CLI::App app;
    Flags flags;
    AddSupervisorFlags(app, flags);
    app.parse(static_cast<int>(argv_.size()), argv_.data());
    ASSERT_TRUE(CompleteFlags(app, flags).ok());
    reader_.emplace(app, static_cast<int>(argv_.size()), argv_.data());
  }

  absl::StatusOr<Reloaded> Read() const {
    return reader_->Read(std::string((*abi::Tables().begin())->driver_version));
  }

  std::string file_;
  std::vector<std::string> arguments_;
  std::vector<char*> argv_;
  std::optional<FlagsReader> reader_;
};

TEST_F(FlagsTest, WhatHasChangedInAFileCounts) {
  Write("mem-quota = '1GiB'\n");
  Start();
  Write("mem-quota = '2GiB'\nlimit = ['objects=5']\nuid-limit = 'files=7'\n");
  const auto reloaded = Read();
  ASSERT_TRUE(reloaded.ok()) << reloaded.status();
  EXPECT_EQ(reloaded->settings.guest_limits[Resource::kVideoMemory], 2ull << 30);
  EXPECT_EQ(reloaded->settings.guest_limits[Resource::kObjects], 5u);
  EXPECT_EQ(reloaded->settings.uid_limits[Resource::kFiles], 7u);
  EXPECT_EQ(reloaded->settings.config_files, std::vector{file_});
  EXPECT_TRUE(reloaded->from_next_start.empty());
}

TEST_F(FlagsTest, WhatTheCommandLineSaysStillWins) {
  Write("");
  Start({"--limit=objects=3"});
  Write("limit = ['objects=5']\n");
  EXPECT_EQ(Read()->settings.guest_limits[Resource::kObjects], 3u);
}

TEST_F(FlagsTest, WhatIsNoLongerSaidIsTheDefaultAgain) {
  Write("limit = ['objects=5']\n");
  Start();
  Write("");
  EXPECT_EQ(Read()->settings.guest_limits, DefaultLimits());
}

TEST_F(FlagsTest, APolicyThatDeniesMoreIsAnother) {
  Write("");
  Start();
  const std::string before = Read()->settings.verdicts;
  Write("capabilities = ['compute']\n");
  EXPECT_NE(Read()->settings.verdicts, before);
}

TEST_F(FlagsTest, SettingsThatARunningBrokerKeepsAreNamed) {
  Write("guest-linger-ms = 1\n");
  Start({"--sim-gpu=h100"});
  Write("driver = 'kernel'\nsocket = '/elsewhere'\nsim-gpu = 'h200'\nguest-linger-ms = 1\nmem-quota = 5\n");
  EXPECT_EQ(Read()->from_next_start, (std::vector<std::string>{"driver", "socket"}));
}

TEST_F(FlagsTest, AMistakeIsToldWithItsPlace) {
  Write("");
  Start();
  for (const auto& [text, wanted] : {std::pair{"\nmem-qouta = 1\n", ":2: "},
                                     {"limit = 'shoes=1'\n", ":1: "},
                                     {"guest-mem-quota = 'a=1'\n", "no --guest-socket"},
                                     {"policy = '/nowhere'\n", "/nowhere"}}) {
    Write(text);
    const auto reloaded = Read();
    ASSERT_FALSE(reloaded.ok()) << text;
    EXPECT_NE(reloaded.status().message().find(wanted), std::string::npos) << reloaded.status();
  }
}

}  // namespace
}  // namespace nvshim::broker
