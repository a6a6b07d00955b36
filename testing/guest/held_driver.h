// A simulated GPU with one request, made once, that ends when the test says so.
#ifndef TESTING_GUEST_HELD_DRIVER_H_
#define TESTING_GUEST_HELD_DRIVER_H_

#include <cstdint>
#include <future>
#include <memory>
#include <utility>

#include "broker/driver/sim/sim_driver.h"

namespace nvshim::testing {

class HeldDriver final : public broker::Driver {
 public:
  // `command` waits for `end` before it is carried out.
  HeldDriver(uint32_t command, std::shared_future<void> end) : command_(command), end_(std::move(end)) {}

  const broker::DriverInfo& info() const override { return sim_->info(); }
  broker::OpenResult Open(broker::DeviceNode node, uint32_t flags) override {
    return sim_->Open(node, flags);
  }
  int Ioctl(broker::DriverFileId file, broker::DriverCall& call) override {
    if (call.command == command_) {
      begun_.set_value();
      end_.wait();
    }
    return sim_->Ioctl(file, call);
  }
  broker::MapResult Map(broker::DriverFileId file) override { return sim_->Map(file); }
  void Close(broker::DriverFileId file) override { sim_->Close(file); }

  // Ready when the driver has the request.
  std::future<void> begun() { return begun_.get_future(); }

 private:
  const uint32_t command_;
  std::unique_ptr<broker::SimDriver> sim_ = *broker::CreateSimDriver({});
  std::promise<void> begun_;
  std::shared_future<void> end_;
};

}  // namespace nvshim::testing

#endif  // TESTING_GUEST_HELD_DRIVER_H_
