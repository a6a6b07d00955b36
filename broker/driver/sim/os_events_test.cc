// Laws of OS events by themselves: which listener wakes which file, and that nothing grows.
#include "broker/driver/sim/os_events.h"

#include <gtest/gtest.h>
#include <poll.h>

#include <memory>
#include <vector>

#include "broker/driver/sim/limits.h"
#include "broker/driver/sim/sim_driver.h"
#include "broker/driver/sim/sim_test_calls.h"

namespace nvshim::broker::sim {
namespace {

constexpr uint32_t kNumber = 14, kGpu = 0;

bool Readable(int fd) {
  pollfd entry{fd, POLLIN, 0};
  return poll(&entry, 1, 0) == 1;
}

class OsEventsTest : public ::testing::Test {
 protected:
  static std::shared_ptr<const DriverFileId> OpenFile(DriverFileId id) {
    return std::make_shared<const DriverFileId>(id);
  }
  // A listener to interrupts of the graphics engine.
  std::shared_ptr<EventListener> Listen(uint32_t number, NvStatus expected = NV_OK) {
    std::shared_ptr<EventListener> made;
    EXPECT_EQ(events_.Listen(number, {{}, true, kGpu, NV2080_NOTIFIERS_GR0}, &made), expected);
    return made;
  }
  std::vector<DriverFileId> Taken() {
    std::vector<DriverFileId> files;
    signals_.Take(&files);
    return files;
  }

  FileSignals signals_;
  OsEventCount count_;
  ClientEvents events_;
};

TEST_F(OsEventsTest, AFileIsReportedOnceHoweverOftenItIsSignalled) {
  for (int i = 0; i < 100000; ++i) signals_.Add(7);
  EXPECT_TRUE(Readable(signals_.fd()));
  EXPECT_EQ(Taken(), std::vector<DriverFileId>{7});
  EXPECT_FALSE(Readable(signals_.fd()));
  EXPECT_TRUE(Taken().empty());
  signals_.Add(7);
  EXPECT_TRUE(Readable(signals_.fd())) << "what comes later is told again";
  signals_.Remove(7);
  EXPECT_TRUE(Taken().empty()) << "a closed file";
}

TEST_F(OsEventsTest, ANumberIsOneEventOfItsClientAndFreeToUseAgainAfterwards) {
  const auto first = OpenFile(1), second = OpenFile(2);
  EXPECT_EQ(events_.Allocate(kNumber, first, count_), NV_OK);
  EXPECT_EQ(events_.Allocate(kNumber, second, count_), NV_ERR_INSUFFICIENT_RESOURCES);
  ClientEvents other;
  EXPECT_EQ(other.Allocate(kNumber, second, count_), NV_OK) << "of another client";
  EXPECT_EQ(events_.Free(kNumber), NV_OK);
  EXPECT_EQ(events_.Free(kNumber), NV_ERR_INVALID_EVENT);
  EXPECT_EQ(events_.Allocate(kNumber, second, count_), NV_OK);
}

TEST_F(OsEventsTest, AListenerNeedsAnEvent) {
  Listen(kNumber, NV_ERR_OBJECT_NOT_FOUND);
  auto file = OpenFile(1);
  ASSERT_EQ(events_.Allocate(kNumber, file, count_), NV_OK);
  EXPECT_NE(Listen(kNumber), nullptr);
  file.reset();
  Listen(kNumber, NV_ERR_OBJECT_NOT_FOUND);
}

TEST_F(OsEventsTest, AFreedEventWakesNobodyAlsoWhenItsNumberIsUsedAgain) {
  const auto first = OpenFile(1), second = OpenFile(2);
  ASSERT_EQ(events_.Allocate(kNumber, first, count_), NV_OK);
  const auto listener = Listen(kNumber);
  events_.Interrupt(kGpu, NV2080_NOTIFIERS_GR0, signals_);
  EXPECT_EQ(Taken(), std::vector<DriverFileId>{1});
  ASSERT_EQ(events_.Free(kNumber), NV_OK);
  ASSERT_EQ(events_.Allocate(kNumber, second, count_), NV_OK);
  events_.Interrupt(kGpu, NV2080_NOTIFIERS_GR0, signals_);
  events_.SignalAll(signals_);
  EXPECT_TRUE(Taken().empty());
}

TEST_F(OsEventsTest, InterruptsOfOtherGpusAndEnginesWakeNobody) {
  const auto file = OpenFile(1);
  ASSERT_EQ(events_.Allocate(kNumber, file, count_), NV_OK);
  const auto listener = Listen(kNumber);
  events_.Interrupt(kGpu + 1, NV2080_NOTIFIERS_GR0, signals_);
  events_.Interrupt(kGpu, NV2080_NOTIFIERS_CE0, signals_);
  EXPECT_TRUE(Taken().empty());
}

TEST_F(OsEventsTest, ThereAreOnlySoManyEventsAndOnlyDeadOnesMakeRoom) {
  std::vector<std::shared_ptr<const DriverFileId>> files;
  for (uint32_t i = 0; i < kOsEventsMax; ++i) {
    files.push_back(OpenFile(i + 1));
    ASSERT_EQ(events_.Allocate(i, files.back(), count_), NV_OK);
  }
  const auto one_more = OpenFile(kOsEventsMax + 1);
  EXPECT_EQ(events_.Allocate(kOsEventsMax, one_more, count_), NV_ERR_INSUFFICIENT_RESOURCES);
  files.front().reset();
  EXPECT_EQ(events_.Allocate(kOsEventsMax, one_more, count_), NV_OK);
  EXPECT_EQ(count_.alive, kOsEventsMax);
}

TEST_F(OsEventsTest, ThereAreOnlySoManyListenersAndOnlyDeadOnesMakeRoom) {
  const auto file = OpenFile(1);
  ASSERT_EQ(events_.Allocate(kNumber, file, count_), NV_OK);
  std::vector<std::shared_ptr<EventListener>> listeners;
  for (uint32_t i = 0; i < kListenersPerClientMax; ++i) listeners.push_back(Listen(kNumber));
  Listen(kNumber, NV_ERR_INSUFFICIENT_RESOURCES);
  listeners.pop_back();
  EXPECT_NE(Listen(kNumber), nullptr);
}

// ---- What clients ask of the driver ----

class OsEventCallsTest : public ::testing::Test {
 protected:
  OsEventCallsTest() : driver_(*CreateSimDriver({})), guest_(*driver_) { guest_.MakeDevice(); }

  uint32_t OsEvent(uint32_t escape, uint32_t number) {
    Buffer bytes(16);
    Put<uint32_t>(bytes, 0, guest_.client);
    Put<uint32_t>(bytes, 8, number);
    EXPECT_EQ(RunEscapeNumber(*driver_, guest_.ctl, escape, bytes), 0);
    return Get<uint32_t>(bytes, 12);
  }
  uint32_t Event(uint32_t parent, uint32_t class_number, uint32_t notify_index) {
    Buffer params(24);
    Put<uint32_t>(params, 12, notify_index);
    Put<uint64_t>(params, 16, kNumber);
    uint32_t handle = 0;
    return guest_.Alloc(parent, &handle, class_number, &params);
  }

  std::unique_ptr<SimDriver> driver_;
  TestGuest guest_;
};

TEST_F(OsEventCallsTest, EventObjectsAreMadeByRmsRules) {
  EXPECT_EQ(Event(TestGuest::kSubdevice, NV01_EVENT_OS_EVENT, 12), NV_ERR_OBJECT_NOT_FOUND);
  ASSERT_EQ(OsEvent(NV_ESC_ALLOC_OS_EVENT, kNumber), NV_OK);
  EXPECT_EQ(OsEvent(NV_ESC_ALLOC_OS_EVENT, kNumber), NV_ERR_INSUFFICIENT_RESOURCES);
  EXPECT_EQ(Event(TestGuest::kSubdevice, NV01_EVENT_OS_EVENT, 12 | NV01_EVENT_NONSTALL_INTR), NV_OK);
  EXPECT_EQ(Event(TestGuest::kDevice, NV01_EVENT_OS_EVENT, 12), NV_OK);
  EXPECT_EQ(Event(TestGuest::kDevice, NV01_EVENT_OS_EVENT, 12 | NV01_EVENT_NONSTALL_INTR),
            NV_ERR_INVALID_ARGUMENT);
  EXPECT_EQ(Event(TestGuest::kSubdevice, NV01_EVENT_KERNEL_CALLBACK, 12), NV_ERR_INVALID_CLASS);
  EXPECT_EQ(OsEvent(NV_ESC_FREE_OS_EVENT, kNumber), NV_OK);
  EXPECT_EQ(OsEvent(NV_ESC_FREE_OS_EVENT, kNumber), NV_ERR_INVALID_EVENT);
  EXPECT_EQ(Event(TestGuest::kSubdevice, NV01_EVENT_OS_EVENT, 12), NV_ERR_OBJECT_NOT_FOUND);
}

}  // namespace
}  // namespace nvshim::broker::sim
