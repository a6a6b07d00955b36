// Laws of a worker with more processes than its ring has room for completions: every one that rings is
// served, and every one that leaves is seen, however many at once.
#include <gtest/gtest.h>
#include <unistd.h>

#include <future>
#include <memory>
#include <utility>
#include <vector>

#include "testing/guest/held_driver.h"
#include "testing/guest/raw_guest.h"
#include "testing/guest/worker_harness.h"

namespace nvshim::testing {
namespace {

// Above the entries of the loop's completion queue.
constexpr uint32_t kProcesses = 300;

// A request to open /dev/nvidiactl, as it lies in a ring.
std::vector<uint8_t> OpenFrame() {
  OpenRequest request;
  request.set_device_class(DEVICE_CLASS_CTL);
  const std::string body = request.SerializeAsString();
  wire::FrameHeader header{};
  header.magic = wire::kFrameMagic;
  header.kind = wire::kFrameKindOpen;
  header.body_size_bytes = static_cast<uint16_t>(body.size());
  header.sequence = 1;
  std::vector<uint8_t> frame(sizeof(header) + wire::AlignUp8(static_cast<uint32_t>(body.size())));
  std::memcpy(frame.data(), &header, sizeof(header));
  std::memcpy(frame.data() + sizeof(header), body.data(), body.size());
  return frame;
}

TEST(CrowdTest, AllThatRingAtOnceAreServed) {
  std::promise<void> end;
  // Until it ends, the worker's only thread waits in it.
  auto driver = std::make_unique<HeldDriver>(kIoctlCheckVersion, end.get_future().share());
  std::future<void> begun = driver->begun();
  WorkerHarness worker(std::move(driver));
  std::vector<std::unique_ptr<RawGuest>> processes;
  for (uint32_t i = 0; i < kProcesses; ++i) {
    processes.push_back(worker.NewProcess(1 + i));
    ASSERT_NE(processes.back(), nullptr);
  }
  const auto file = processes[0]->Open(DEVICE_CLASS_CTL);
  auto held = std::async(std::launch::async, [&] {
    return processes[0]->Ioctl(file->file_id, kIoctlCheckVersion, {{std::vector<uint8_t>(72), 0, 0}});
  });
  begun.wait();
  for (uint32_t i = 1; i < kProcesses; ++i) ASSERT_TRUE(processes[i]->Publish(0, OpenFrame()));
  end.set_value();
  ASSERT_TRUE(held.get());
  for (uint64_t opens = 0; opens != kProcesses;) {  // the one above, and one of each other
    const WorkerStatistics statistics = worker.Statistics();
    opens = 0;
    for (const GuestStatistics& guest : statistics.guests()) opens += guest.opens_total();
  }
  close(file->fd);
}

TEST(CrowdTest, AllThatLeaveAtOnceAreSeen) {
  WorkerHarness worker;
  std::vector<std::unique_ptr<RawGuest>> processes;
  std::vector<int> files;
  for (uint32_t i = 0; i < kProcesses; ++i) {
    processes.push_back(worker.NewProcess(1 + i));
    ASSERT_NE(processes.back(), nullptr);
    const auto file = processes.back()->Open(DEVICE_CLASS_CTL);
    ASSERT_TRUE(file && file->error == 0);
    ASSERT_EQ(AllocClient(*processes.back(), file->file_id)->status, 0u);
    files.push_back(file->fd);
  }
  EXPECT_EQ(worker.Statistics().guests_size(), static_cast<int>(kProcesses));
  processes.clear();
  for (int fd : files) close(fd);
  worker.AwaitEmpty();
}

}  // namespace
}  // namespace nvshim::testing
