// Laws of the picture: it says of each guest what the statistics say, lines are equally long, nothing of a
// name reaches the terminal but printable characters, and it is no longer than the terminal.
#include "broker/ctl/top_view.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace nvshim::broker::ctl {
namespace {

using testing::HasSubstr;

constexpr size_t kColumns = 91;
constexpr size_t kEnough = 1000;
constexpr uint64_t kMib = 1 << 20;

GuestStatistics* AddGuest(const std::string& name, uint64_t memory_mib, BrokerStatistics* statistics) {
  WorkerStatistics* worker = statistics->add_workers();
  GuestStatistics* guest = worker->add_guests();
  guest->set_name(name);
  guest->set_worker_pid(100 + statistics->workers_size());
  guest->set_guest_id(1);
  guest->set_processes(3);
  guest->set_memory_bytes(memory_mib * kMib);
  statistics->set_guests(statistics->guests() + 1);
  statistics->set_memory_bytes(statistics->memory_bytes() + guest->memory_bytes());
  return guest;
}

BrokerStatistics Example() {
  BrokerStatistics statistics;
  statistics.set_version("0.1.0");
  statistics.set_driver("sim");
  statistics.set_driver_version("535.261.03");
  GpuStatistics* gpu = statistics.add_gpus();
  gpu->set_name("NVIDIA H100 80GB HBM3");
  gpu->set_bus_id("0000:01:00.0");
  gpu->set_memory_bytes(81559 * kMib);
  GuestStatistics* guest = AddGuest("training", 200, &statistics);
  guest->set_memory_quota_bytes(4096 * kMib);
  guest->set_opens_total(10);
  guest->set_ioctls_total(990);
  (*guest->mutable_refusals_total())["over_limit"] = 4;
  (*guest->mutable_refusals_total())["over_quota"] = 3;
  AddGuest("inference", 300, &statistics);
  return statistics;
}

std::string LineWith(const std::vector<std::string>& lines, const std::string& text) {
  for (const std::string& line : lines)
    if (line.find(text) != std::string::npos) return line;
  ADD_FAILURE() << "no line has " << text;
  return "";
}

std::vector<std::string> Words(const std::string& line) {
  std::vector<std::string> words;
  std::string word;
  for (const char byte : line + " ") {
    if (byte != ' ') {
      word += byte;
    } else if (!word.empty()) {
      words.push_back(std::exchange(word, ""));
    }
  }
  return words;
}

TEST(TopView, SaysWhatTheStatisticsSay) {
  const BrokerStatistics now = Example();
  BrokerStatistics before = now;
  before.mutable_workers(0)->mutable_guests(0)->set_ioctls_total(490);
  const auto lines = TopView(now, &before, 2.0, kEnough);
  EXPECT_THAT(lines[1], HasSubstr("gpu-broker 0.1.0"));
  EXPECT_THAT(lines[1], HasSubstr("sim      535.261.03"));
  EXPECT_THAT(LineWith(lines, "H100"), HasSubstr("500MiB /    81559MiB"));
  EXPECT_EQ(Words(LineWith(lines, "training")),
            (std::vector<std::string>{"|", "training", "3", "200MiB", "/", "4096MiB", "250", "7", "|"}));
  EXPECT_EQ(Words(LineWith(lines, "inference")),
            (std::vector<std::string>{"|", "inference", "3", "300MiB", "/", "-", "0", "0", "|"}));
  EXPECT_LT(LineWith(lines, "inference"), LineWith(lines, "training"));
  for (const std::string& line : lines) EXPECT_EQ(line.size(), kColumns) << line;
}

TEST(TopView, WhoHasMostComesFirst) {
  const auto lines = TopView(Example(), nullptr, 0, kEnough);
  EXPECT_THAT(lines[lines.size() - 3], HasSubstr("inference"));
  EXPECT_THAT(lines[lines.size() - 2], HasSubstr("training"));
}

// A guest that was not there before, or is another one by the same name, has no rate.
TEST(TopView, ARateNeedsTheSameGuestTwice) {
  const BrokerStatistics now = Example();
  EXPECT_EQ(Words(LineWith(TopView(now, nullptr, 0, kEnough), "training"))[6], "-");
  BrokerStatistics before = now;
  before.mutable_workers(0)->mutable_guests(0)->set_guest_id(2);
  EXPECT_EQ(Words(LineWith(TopView(now, &before, 1, kEnough), "training"))[6], "-");
}

TEST(TopView, NamesCannotWriteToTheTerminal) {
  BrokerStatistics now;
  AddGuest(
      "\x1b]0;owned\x07\x9b"
      "31m\n\r\xff",
      1, &now);
  AddGuest("uid 1000 /user.slice/user-1000.slice/session-with-a-very-long-name.scope", 2, &now);
  now.add_gpus()->set_name("\x1b[2J");
  now.set_driver_version("\x1b[2J");
  for (const std::string& line : TopView(now, nullptr, 0, kEnough)) {
    EXPECT_EQ(line.size(), kColumns) << line;
    for (const char byte : line) EXPECT_TRUE(byte >= ' ' && byte <= '~') << line;
  }
  LineWith(TopView(now, nullptr, 0, kEnough), "...n-with-a-very-long-name.scope ");
}

TEST(TopView, IsNoLongerThanTheTerminal) {
  BrokerStatistics now = Example();
  for (int i = 0; i < 50; ++i) AddGuest("guest", 1, &now);
  const size_t all = TopView(now, nullptr, 0, kEnough).size();
  EXPECT_EQ(TopView(now, nullptr, 0, all).size(), all);
  const auto lines = TopView(now, nullptr, 0, 24);
  EXPECT_EQ(lines.size(), 24);
  EXPECT_THAT(lines[22], HasSubstr("... and 39 more"));
  EXPECT_LE(TopView(now, nullptr, 0, 0).size(), 11);
}

}  // namespace
}  // namespace nvshim::broker::ctl
