// Channels from their allocation to the copies they make and the interrupts they raise.
#include "broker/driver/sim/channels_test_fixture.h"

namespace nvshim::broker::sim {
namespace {

TEST_F(ChannelsTest, ACopyQueuedThroughMappedMemoryIsMade) {
  ASSERT_EQ(MakeChannel(), NV_OK);
  for (int i = 0; i < 5000; ++i) memory_[kSource + i] = static_cast<uint8_t>(i * 13);
  Submit(CopyMethods(kBase + kSource, kBase + kTarget));
  ASSERT_TRUE(AwaitWord(kSemaphore, 0x1234));
  EXPECT_EQ(std::memcmp(memory_ + kSource, memory_ + kTarget, 5000), 0);
  EXPECT_TRUE(AwaitWord(kUserd + 0x88, 1)) << "GP_GET follows";
}

TEST_F(ChannelsTest, ACopyFromNowhereStopsTheChannelAndIsTold) {
  ASSERT_EQ(MakeChannel(), NV_OK);
  Submit(CopyMethods(kBase + kSize, kBase + kTarget));
  EXPECT_NE(AwaitFault().find("not mapped"), std::string::npos);
  EXPECT_EQ(memory_[kSemaphore], 0);
}

TEST_F(ChannelsTest, AnErrorIsWrittenWhereTheClientLooks) {
  ASSERT_EQ(MakeChannel(), NV_OK);
  Submit(CopyMethods(kBase + kSize, kBase + kTarget));
  ASSERT_TRUE(AwaitWord(kNotifier + 12, 0xffff0000));
  uint32_t info32;
  std::memcpy(&info32, memory_ + kNotifier + 8, sizeof(info32));
  EXPECT_EQ(info32, 31u) << "ROBUST_CHANNEL_FIFO_ERROR_MMU_ERR_FLT";
}

TEST_F(ChannelsTest, WhatUvmFreedTheChannelNoLongerSees) {
  Buffer free(24);
  Put<uint64_t>(free, 0, kBase);
  ASSERT_EQ(Uvm(UVM_FREE, free, 16), NV_OK);
  ASSERT_EQ(MakeChannel(), NV_OK);
  Submit(CopyMethods(kBase + kSource, kBase + kTarget));
  EXPECT_NE(AwaitFault().find("not mapped"), std::string::npos);
}

TEST_F(ChannelsTest, AClosedUvmFileTakesItsMappingsWithIt) {
  driver_->Close(uvm_);
  ASSERT_EQ(MakeChannel(), NV_OK);
  Submit(CopyMethods(kBase + kSource, kBase + kTarget));
  EXPECT_NE(AwaitFault().find("not mapped"), std::string::npos);
}

TEST_F(ChannelsTest, AnEngineWhoseDoorbellsAreArmedSleepsUntilOneRings) {
  FakeDoorbell doorbell([] { return true; });
  driver_->AddDoorbell(&doorbell);
  ASSERT_EQ(MakeChannel(), NV_OK);
  ASSERT_TRUE(AwaitSleep());
  Submit(CopyMethods(kBase + kSource, kBase + kTarget));
  EXPECT_TRUE(driver_->engine_asleep()) << "nothing but the doorbell tells";
  EXPECT_EQ(memory_[kSemaphore], 0);
  doorbell.Disarm();
  driver_->Ring();
  EXPECT_TRUE(AwaitWord(kSemaphore, 0x1234));
  driver_->RemoveDoorbell(&doorbell);
}

TEST_F(ChannelsTest, WorkThatCameBeforeADoorbellWasArmedIsFoundWithoutARing) {
  FakeDoorbell doorbell([this] {
    Submit(CopyMethods(kBase + kSource, kBase + kTarget));
    return true;
  });
  driver_->AddDoorbell(&doorbell);
  ASSERT_EQ(MakeChannel(), NV_OK);
  EXPECT_TRUE(AwaitWord(kSemaphore, 0x1234));
  driver_->RemoveDoorbell(&doorbell);
}

TEST_F(ChannelsTest, OneDoorbellThatCannotBeArmedKeepsTheEngineLooking) {
  FakeDoorbell armed([] { return true; }), deaf([] { return false; });
  driver_->AddDoorbell(&armed);
  driver_->AddDoorbell(&deaf);
  ASSERT_EQ(MakeChannel(), NV_OK);
  Submit(CopyMethods(kBase + kSource, kBase + kTarget));
  EXPECT_TRUE(AwaitWord(kSemaphore, 0x1234));
  EXPECT_FALSE(driver_->engine_asleep());
  driver_->RemoveDoorbell(&deaf);
  EXPECT_TRUE(AwaitSleep());
  driver_->RemoveDoorbell(&armed);
}

TEST_F(ChannelsTest, AChannelThatWaitsForASemaphoreKeepsTheEngineLooking) {
  FakeDoorbell doorbell([] { return true; });
  driver_->AddDoorbell(&doorbell);
  ASSERT_EQ(MakeChannel(), NV_OK);
  constexpr uint64_t kBegun = kSemaphore + 0x80, kGate = kSemaphore + 0x100;
  const auto semaphore = [](uint64_t at, uint32_t payload, uint32_t execute) {
    return std::vector<uint32_t>{Header(0, 0x5c, 5),
                                 static_cast<uint32_t>(kBase + at),
                                 static_cast<uint32_t>(kBase >> 32),
                                 payload,
                                 0,
                                 execute};
  };
  std::vector<uint32_t> words = semaphore(kBegun, 1, 1);
  for (uint32_t word : semaphore(kGate, 7, 0)) words.push_back(word);
  for (uint32_t word : CopyMethods(kBase + kSource, kBase + kTarget)) words.push_back(word);
  Submit(words);
  driver_->Ring();
  ASSERT_TRUE(AwaitWord(kBegun, 1));
  __atomic_store_n(reinterpret_cast<uint32_t*>(memory_ + kGate), 7, __ATOMIC_RELEASE);
  EXPECT_TRUE(AwaitWord(kSemaphore, 0x1234)) << "no doorbell says that the gate is open";
  driver_->RemoveDoorbell(&doorbell);
}

TEST_F(ChannelsTest, AnInterruptWakesTheFilesThatListenToItsEngine) {
  const DriverFileId graphics = MakeEventFile(NV2080_NOTIFIERS_GR0 | NV01_EVENT_NONSTALL_INTR);
  const DriverFileId copy0 = MakeEventFile(NV2080_NOTIFIERS_CE0 | NV01_EVENT_NONSTALL_INTR);
  const DriverFileId copy2 = MakeEventFile((NV2080_NOTIFIERS_CE0 + 2) | NV01_EVENT_NONSTALL_INTR);
  const DriverFileId host = MakeEventFile(NV2080_NOTIFIERS_FIFO_EVENT_MTHD | NV01_EVENT_NONSTALL_INTR);
  MakeEventFile(NV2080_NOTIFIERS_CE0 + 2);  // not an event of interrupts
  ASSERT_EQ(MakeChannel({.engine_type = NV2080_ENGINE_TYPE_COPY0 + 2}), NV_OK);
  Submit(InterruptingCopyMethods());
  EXPECT_EQ(AwaitSignals(host), (std::set<DriverFileId>{copy2, host}));
  EXPECT_TRUE(AwaitWord(kSemaphore, 0x1234)) << "the interrupt comes after what it tells of";
  EXPECT_NE(graphics, copy0);
}

TEST_F(ChannelsTest, AChannelOnNoEngineOfItsOwnInterruptsAsTheGraphicsEngine) {
  const DriverFileId graphics = MakeEventFile(NV2080_NOTIFIERS_GR0 | NV01_EVENT_NONSTALL_INTR);
  ASSERT_EQ(MakeChannel(), NV_OK);
  Submit({Header(0, 0x20, 1), 0});  // NON_STALL_INTERRUPT
  EXPECT_EQ(AwaitSignals(graphics), std::set<DriverFileId>{graphics});
}

TEST_F(ChannelsTest, WorkThatAsksForNoInterruptWakesNobody) {
  MakeEventFile(NV2080_NOTIFIERS_GR0 | NV01_EVENT_NONSTALL_INTR);
  ASSERT_EQ(MakeChannel(), NV_OK);
  Submit(CopyMethods(kBase + kSource, kBase + kTarget));
  ASSERT_TRUE(AwaitWord(kUserd + 0x88, 1));
  ASSERT_EQ(guest_->Free(kChannel), NV_OK);  // waits for the end of its turn
  std::vector<DriverFileId> files;
  driver_->TakeSignals(&files);
  EXPECT_TRUE(files.empty());
}

TEST_F(ChannelsTest, FreedEventsAndClosedFilesAreNotWoken) {
  constexpr uint32_t kIndex = NV2080_NOTIFIERS_GR0 | NV01_EVENT_NONSTALL_INTR;
  const DriverFileId freed = MakeEventFile(kIndex), deaf = MakeEventFile(kIndex),
                     closed = MakeEventFile(kIndex), alive = MakeEventFile(kIndex);
  ASSERT_EQ(OsEvent(NV_ESC_FREE_OS_EVENT, freed), NV_OK);
  ASSERT_EQ(guest_->Free(kEvent + deaf), NV_OK);
  driver_->Close(closed);
  ASSERT_EQ(MakeChannel(), NV_OK);
  Submit(InterruptingCopyMethods());
  EXPECT_EQ(AwaitSignals(alive), std::set<DriverFileId>{alive});
}

TEST_F(ChannelsTest, AChannelThatStopsWakesAllThatItsClientListensWith) {
  const DriverFileId copy = MakeEventFile(NV2080_NOTIFIERS_CE0 | NV01_EVENT_NONSTALL_INTR);
  ASSERT_EQ(MakeChannel(), NV_OK);
  const DriverFileId of_channel = MakeEventFile(1, kChannel);
  Submit(CopyMethods(kBase + kSize, kBase + kTarget));
  ASSERT_TRUE(AwaitWord(kNotifier + 12, 0xffff0000));
  EXPECT_EQ(AwaitSignals(of_channel), (std::set<DriverFileId>{copy, of_channel}));
}

TEST_F(ChannelsTest, ARingWithoutEntriesAndUserdOutsideItsMemoryAreRefused) {
  EXPECT_EQ(MakeChannel({.entries = 0}), NV_ERR_INVALID_ARGUMENT);
  EXPECT_EQ(MakeChannel({.userd_offset = kSize - 0x80}), NV_ERR_INVALID_ARGUMENT);
  EXPECT_EQ(MakeChannel({.userd_offset = ~uint64_t{0} & ~uint64_t{3}}), NV_ERR_INVALID_ARGUMENT);
  EXPECT_EQ(MakeChannel({.userd_offset = 2}), NV_ERR_INVALID_ARGUMENT);
}

TEST_F(ChannelsTest, AFreedChannelExecutesNothing) {
  ASSERT_EQ(MakeChannel(), NV_OK);
  ASSERT_EQ(guest_->Free(kChannel), NV_OK);
  Submit(CopyMethods(kBase + kSource, kBase + kTarget));
  // Another channel of the same memory but another ring proves that the engine ran.
  ASSERT_EQ(MakeChannel({.userd_offset = kUserd + 0x200}), NV_OK);
  const uint32_t out_of_range = 8;
  std::memcpy(memory_ + kUserd + 0x200 + 0x8c, &out_of_range, 4);
  EXPECT_NE(AwaitFault().find("malformed"), std::string::npos);
  EXPECT_EQ(memory_[kSemaphore], 0);
}

TEST_F(ChannelsTest, AFaultStopsTheGroupAndNoOther) {
  constexpr uint64_t kSecondUserd = kUserd + 0x200, kOtherUserd = kUserd + 0x400;
  ASSERT_EQ(MakeChannel(), NV_OK);
  ASSERT_EQ(MakeChannel({.userd_offset = kSecondUserd, .handle = kChannel + 1}), NV_OK);
  ASSERT_EQ(MakeChannel({.userd_offset = kOtherUserd, .handle = kChannel + 2, .group = kChannel + 3}), NV_OK);
  Submit(CopyMethods(kBase + kSize, kBase + kTarget));
  ASSERT_NE(AwaitFault().find("not mapped"), std::string::npos);
  // A round gives all channels their turn, so that of the group came before the other's second.
  Submit(CopyMethods(kBase + kSource, kBase + kTarget), kSecondUserd);
  Submit(CopyMethods(kBase + kSource, kBase + kTarget), kOtherUserd);
  ASSERT_TRUE(AwaitWord(kSemaphore, 0x1234));
  ASSERT_TRUE(AwaitWord(kOtherUserd + 0x88, 1));
  EXPECT_FALSE(HasWord(kSecondUserd + 0x88, 1));
}

}  // namespace
}  // namespace nvshim::broker::sim
