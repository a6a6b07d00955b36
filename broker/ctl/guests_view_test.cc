// Laws of the list of guests: who is there and who could be, each once; what a guest chose does not reach the
// terminal as it is.
#include "broker/ctl/guests_view.h"

#include <nlohmann/json.hpp>

#include "broker/io/limits_message.h"
#include "gtest/gtest.h"

namespace nvshim::broker::ctl {
namespace {

BrokerStatistics TwoGuests() {
  BrokerStatistics statistics;
  WorkerStatistics* worker = statistics.add_workers();
  GuestStatistics* guest = worker->add_guests();
  guest->set_guest_id(3);
  guest->set_name("training");
  guest->set_worker_pid(4711);
  guest->set_processes(2);
  guest->add_used(1ull << 30);  // of video memory
  broker::Limits limits = DefaultLimits();
  limits[Resource::kVideoMemory] = 4ull << 30;
  PutLimits(limits, guest->mutable_limits());
  KnownGuest* known = statistics.add_known();
  known->set_name("training");
  known->set_socket("/run/training.sock");
  known->set_added(true);
  OwnLimit* own = known->add_own_limits();
  own->set_kind("video_memory");
  own->set_limit(4ull << 30);
  statistics.add_known()->set_name("other");
  return statistics;
}

TEST(GuestsViewTest, WhoIsThereAndWhoCouldBeIsListedOnce) {
  const auto json = nlohmann::json::parse(GuestsJson(TwoGuests()));
  ASSERT_EQ(json.size(), 2u);
  EXPECT_EQ(json[0]["name"], "training");
  EXPECT_EQ(json[0]["guest"], 3);
  EXPECT_EQ(json[0]["socket"], "/run/training.sock");
  EXPECT_EQ(json[0]["added"], true);
  EXPECT_EQ(json[0]["limits"]["video_memory"]["used"], 1ull << 30);
  EXPECT_EQ(json[0]["limits"]["video_memory"]["limit"], 4ull << 30);
  EXPECT_TRUE(json[0]["limits"]["pinned_memory"]["limit"].is_null());
  EXPECT_EQ(json[0]["own_limits"]["video_memory"], 4ull << 30);
  EXPECT_EQ(json[1]["name"], "other");
  EXPECT_TRUE(json[1]["guest"].is_null());
}

TEST(GuestsViewTest, ColumnsAreAligned) {
  const std::string text = GuestsText(TwoGuests());
  EXPECT_EQ(text,
            "NUMBER  PROCESSES  FILES  VIDEO MEMORY    PINNED MEMORY  CHANNELS  WORKER  GUEST\n"
            "3       2          0      1 GiB of 4 GiB  0 B            0         4711    training at "
            "/run/training.sock, added, limits of its own\n"
            "-       -          -      -               -              -         -       other\n");
}

TEST(GuestsViewTest, WhatAGuestChoseIsEscaped) {
  BrokerStatistics statistics;
  statistics.add_workers()->add_guests()->set_name("uid 5 /\x1b[2J\xff");
  EXPECT_EQ(GuestsText(statistics).find('\x1b'), std::string::npos);
  EXPECT_TRUE(nlohmann::json::accept(GuestsJson(statistics)));
}

TEST(BytesTextTest, HasPeoplesUnits) {
  EXPECT_EQ(BytesText(0), "0 B");
  EXPECT_EQ(BytesText(1023), "1023 B");
  EXPECT_EQ(BytesText(1024), "1 KiB");
  EXPECT_EQ(BytesText(380ull << 20), "380 MiB");
  EXPECT_EQ(BytesText(3ull << 29), "1.5 GiB");
}

}  // namespace
}  // namespace nvshim::broker::ctl
