// Law: an event of the driver's file makes the guest's descriptor readable, from the engine through worker
// and core to the placeholder, seen by a guest that does without the shim.
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <memory>
#include <vector>

#include "testing/guest/raw_guest.h"
#include "testing/guest/worker_harness.h"

namespace nvshim::testing {
namespace {

constexpr uint32_t kDevice = 0x5c000001, kSubdevice = 0x5c000002, kVaSpace = 0x5c000003, kMemory = 0x5c000004,
                   kGroup = 0x5c000005, kChannel = 0x5c000006, kEvent = 0x5c000007;
constexpr uint32_t kVidHeapControl = 0xc0b8464a, kMapMemory = 0xc038464e, kRegisterFd = 0xc00446c9,
                   kAllocOsEvent = 0xc01046ce;
constexpr uint64_t kBytes = 4096;
constexpr uint32_t kEntries = 8;
constexpr uint32_t kGpPut = 0x8c;  // of USERD
constexpr uint32_t kCookie = 14;   // what a guest's own descriptor could be

class OsEventTest : public ::testing::Test {
 protected:
  void SetUp() override {
    guest_ = worker_.NewProcess(1);
    ASSERT_NE(guest_, nullptr);
    ctl_ = *guest_->Open(DEVICE_CLASS_CTL);
    event_ = *guest_->Open(DEVICE_CLASS_GPU);
    client_ = AllocClient(*guest_, ctl_.file_id)->handle;
    Alloc(client_, kDevice, 0x80, 56);
    Alloc(kDevice, kSubdevice, 0x2080, 4);
    Alloc(kDevice, kVaSpace, 0x90f1, 48);
    AllocMemory();
    MapMemory();
  }
  void TearDown() override {
    if (userd_ != MAP_FAILED) munmap(userd_, kBytes);
    for (int fd : {ctl_.fd, event_.fd}) close(fd);
  }

  void Alloc(uint32_t parent, uint32_t object, uint32_t rm_class, size_t params_size) {
    AllocWith(parent, object, rm_class, std::vector<uint8_t>(params_size));
  }
  void AllocWith(uint32_t parent, uint32_t object, uint32_t rm_class, std::vector<uint8_t> params,
                 uint32_t file = 0) {
    const auto made = AllocObject(*guest_, file == 0 ? ctl_.file_id : file, client_, parent, object, rm_class,
                                  std::move(params));
    ASSERT_TRUE(made);
    ASSERT_EQ(made->status, 0u) << std::hex << rm_class;
  }
  void AllocMemory() {
    std::vector<uint8_t> bytes(184);
    WriteAt<uint32_t>(bytes, 0, client_);
    WriteAt<uint32_t>(bytes, 4, kDevice);
    WriteAt<uint32_t>(bytes, 8, 2);  // NVOS32_FUNCTION_ALLOC_SIZE
    WriteAt<uint32_t>(bytes, 44, kMemory);
    WriteAt<uint32_t>(bytes, 56, 1u << 25);  // system memory
    WriteAt<uint64_t>(bytes, 88, kBytes);
    const auto answer = guest_->Ioctl(ctl_.file_id, kVidHeapControl, {{bytes, 0, 0}});
    ASSERT_TRUE(answer && answer->error == 0);
    ASSERT_EQ(ReadAt<uint32_t>(answer->segments[0], 20), 0u);
  }
  void MapMemory() {
    const OpenAnswer onto = *guest_->Open(DEVICE_CLASS_CTL);
    std::vector<uint8_t> bytes(56);
    WriteAt<uint32_t>(bytes, 0, client_);
    WriteAt<uint32_t>(bytes, 4, kDevice);
    WriteAt<uint32_t>(bytes, 8, kMemory);
    WriteAt<uint64_t>(bytes, 24, kBytes);
    FileReference file;
    file.set_field_offset(48);
    file.set_file_id(onto.file_id);
    const auto answer = guest_->Ioctl(ctl_.file_id, kMapMemory, {{bytes, 0, 0}}, {file});
    close(onto.fd);
    ASSERT_TRUE(answer && answer->error == 0);
    ASSERT_GE(answer->fd, 0);
    userd_ = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED, answer->fd, 0);
    close(answer->fd);
    ASSERT_NE(userd_, MAP_FAILED);
  }
  void MakeEvent() {
    FileReference ctl;
    ctl.set_file_id(ctl_.file_id);
    ASSERT_EQ(guest_->Ioctl(event_.file_id, kRegisterFd, {{std::vector<uint8_t>(4), 0, 0}}, {ctl})->error, 0);
    std::vector<uint8_t> bytes(16), params(24);
    WriteAt<uint32_t>(bytes, 0, client_);
    WriteAt<uint32_t>(bytes, 8, kCookie);
    const auto answer = guest_->Ioctl(event_.file_id, kAllocOsEvent, {{bytes, 0, 0}});
    ASSERT_TRUE(answer && answer->error == 0);
    ASSERT_EQ(ReadAt<uint32_t>(answer->segments[0], 12), 0u);
    WriteAt<uint64_t>(params, 16, kCookie);
    AllocWith(kSubdevice, kEvent, 0x79, std::move(params), event_.file_id);
  }
  // A channel that is given work outside of its ring stops at once, which is an event.
  void StopAChannel() {
    std::vector<uint8_t> group(20), channel(360);
    WriteAt<uint32_t>(group, 8, kVaSpace);
    AllocWith(kDevice, kGroup, 0xa06c, std::move(group));
    WriteAt<uint32_t>(channel, 16, kEntries);
    WriteAt<uint32_t>(channel, 32, kMemory);
    AllocWith(kGroup, kChannel, 0xc86f, std::move(channel));
    auto* put = reinterpret_cast<uint32_t*>(static_cast<uint8_t*>(userd_) + kGpPut);
    __atomic_store_n(put, kEntries, __ATOMIC_RELEASE);
    pollfd entry{event_.fd, POLLIN, 0};
    EXPECT_EQ(poll(&entry, 1, 30'000), 1);
    EXPECT_EQ(entry.revents, POLLIN);
    __atomic_store_n(put, 0, __ATOMIC_RELEASE);
    ASSERT_EQ(Free(*guest_, ctl_.file_id, client_, kGroup), 0u);
  }
  // What is written into the placeholder; empty when nothing is.
  std::vector<char> Read() const {
    char bytes[64];
    const ssize_t size = recv(event_.fd, bytes, sizeof(bytes), MSG_DONTWAIT);
    return {bytes, bytes + (size < 0 ? 0 : size)};
  }

  WorkerHarness worker_;
  std::unique_ptr<RawGuest> guest_;
  OpenAnswer ctl_, event_;
  uint32_t client_ = 0;
  void* userd_ = MAP_FAILED;
};

TEST_F(OsEventTest, AnEventMakesThePlaceholderReadableUntilItIsRead) {
  MakeEvent();
  EXPECT_TRUE(Read().empty());
  for (int i = 0; i < 3; ++i) {
    StopAChannel();
    EXPECT_EQ(Read().size(), 1u) << "a FileSignal is one byte";
    EXPECT_TRUE(Read().empty());
  }
}

TEST_F(OsEventTest, EventsThatNobodyReadsAreOneMessageAndDoNotHideTheClose) {
  MakeEvent();
  for (int i = 0; i < 20; ++i) StopAChannel();
  guest_.reset();
  close(std::exchange(ctl_.fd, -1));
  close(std::exchange(event_.fd, -1));
  worker_.AwaitEmpty();
}

}  // namespace
}  // namespace nvshim::testing
