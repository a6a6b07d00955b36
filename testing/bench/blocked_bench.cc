// A small control on one lane of a process, while a call on another lane blocks in the driver, beside the
// same with none. Worker and guest are threads of this program: a worker with a driver that holds UVM_MIGRATE
// until it is told, and a guest without the shim. Prints JSON lines; testing/bench/run makes a table of them.
#include <unistd.h>

#include <array>
#include <cstring>
#include <future>
#include <memory>
#include <utility>
#include <vector>

#include "testing/bench/bench.h"
#include "testing/guest/held_driver.h"
#include "testing/guest/raw_guest.h"
#include "testing/guest/worker_harness.h"

namespace nvshim::bench {
namespace {

using namespace nvshim::testing;

constexpr uint32_t kUvmInitialize = 0x30000001, kUvmMigrate = 51;
constexpr uint32_t kUvmInitializeSizeBytes = 16, kUvmMigrateSizeBytes = 80;
constexpr uint32_t kIoctlRmControl = 0xc020462a, kGetMemopEnable = 0x27b;
constexpr uint32_t kBlockedLane = 1;
constexpr int kBlocks = 10;

std::vector<Buffer> SmallControl(uint32_t client) {
  const std::array<uint32_t, 8> nvos54 = {client, client, kGetMemopEnable, 0, 0, 0, 4, 0};
  std::vector<uint8_t> bytes(sizeof(nvos54));
  std::memcpy(bytes.data(), nvos54.data(), bytes.size());
  return {{bytes, 0, 0}, {std::vector<uint8_t>(4), 0, 16}};
}

int Main(int calls) {
  std::promise<void> end;
  auto driver = std::make_unique<HeldDriver>(kUvmMigrate, end.get_future().share());
  std::future<void> begun = driver->begun();
  WorkerHarness worker(std::move(driver));
  const auto guest = worker.NewProcess(1);
  const auto uvm = *guest->Open(DEVICE_CLASS_UVM), ctl = *guest->Open(DEVICE_CLASS_CTL);
  close(
      guest->Ioctl(uvm.file_id, kUvmInitialize, {{std::vector<uint8_t>(kUvmInitializeSizeBytes), 0, 0}})->fd);
  const auto control = SmallControl(AllocClient(*guest, ctl.file_id)->handle);
  const auto call = [&] {
    if (guest->Ioctl(ctl.file_id, kIoctlRmControl, control)->error != 0) Die("a small control");
  };
  std::vector<double> alone, beside;
  for (int block = 0; block < kBlocks; ++block) Append(alone, Measure(call, calls / kBlocks, {}));
  auto blocked = std::async(std::launch::async, [&] {
    return guest->Ioctl(uvm.file_id, kUvmMigrate, {{std::vector<uint8_t>(kUvmMigrateSizeBytes), 0, 0}}, {},
                        kBlockedLane);
  });
  begun.wait();
  for (int block = 0; block < kBlocks; ++block) Append(beside, Measure(call, calls / kBlocks, {}));
  end.set_value();
  blocked.wait();
  for (const double percent : {50.0, 99.0})
    Report(percent == 50.0 ? "beside a call that blocks p50" : "beside a call that blocks p99",
           Percentile(beside, percent), "us", "alone", Percentile(alone, percent));
  close(uvm.fd);
  close(ctl.fd);
  return 0;
}

}  // namespace
}  // namespace nvshim::bench

int main(int argc, char** argv) {
  const bool quick = argc > 1 && std::strcmp(argv[1], "--quick") == 0;
  return nvshim::bench::Main(quick ? 2'000 : 50'000);
}
