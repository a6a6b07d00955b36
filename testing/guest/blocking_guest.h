// A guest process, and its worker, whose driver holds one call up until it is told: what others do meanwhile
// can be looked at.
#ifndef TESTING_GUEST_BLOCKING_GUEST_H_
#define TESTING_GUEST_BLOCKING_GUEST_H_

#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <future>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "testing/guest/held_driver.h"
#include "testing/guest/raw_guest.h"
#include "testing/guest/worker_harness.h"

namespace nvshim::testing {

class BlockingGuest {
 public:
  BlockingGuest() {
    auto driver = std::make_unique<HeldDriver>(kUvmMigrate, end_.get_future().share());
    begun_ = driver->begun();
    worker_ = std::make_unique<WorkerHarness>(std::move(driver));
    guest_ = worker_->NewProcess(1);
    uvm_ = *guest_->Open(DEVICE_CLASS_UVM);
    ctl_ = *guest_->Open(DEVICE_CLASS_CTL);
    const auto initialized = guest_->Ioctl(uvm_.file_id, kUvmInitialize, {{std::vector<uint8_t>(16), 0, 0}});
    if (!initialized || initialized->error != 0) abort();
    close(initialized->fd);
  }
  ~BlockingGuest() { CloseFiles(); }

  WorkerHarness& worker() { return *worker_; }
  RawGuest& guest() { return *guest_; }
  uint32_t ctl() const { return ctl_.file_id; }

  void CloseFiles() {
    for (OpenAnswer* file : {&uvm_, &ctl_})
      if (file->fd >= 0) close(std::exchange(file->fd, -1));
  }

  // Publishes the call that blocks, on lane 1, once, and returns when the driver has it.
  std::future<std::optional<IoctlAnswer>> Block() {
    auto answer = std::async(std::launch::async, [this] {
      return guest_->Ioctl(uvm_.file_id, kUvmMigrate, {{std::vector<uint8_t>(80), 0, 0}}, {}, /*lane=*/1);
    });
    begun_.wait();
    return answer;
  }
  // Lets it go on.
  void End() { end_.set_value(); }

 private:
  static constexpr uint32_t kUvmInitialize = 0x30000001, kUvmMigrate = 51;

  std::promise<void> end_;
  std::future<void> begun_;
  std::unique_ptr<WorkerHarness> worker_;
  std::unique_ptr<RawGuest> guest_;
  OpenAnswer uvm_, ctl_;
};

}  // namespace nvshim::testing

#endif  // TESTING_GUEST_BLOCKING_GUEST_H_
