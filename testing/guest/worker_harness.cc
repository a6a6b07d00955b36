#include "testing/guest/worker_harness.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <random>
#include <utility>
#include <vector>

#include "broker/core/verdict.h"
#include "broker/driver/sim/sim_driver.h"
#include "broker/io/socket.h"
#include "proto/abi/spec.h"

namespace nvshim::testing {
namespace {

constexpr size_t kMessageSizeBytesMax = 256 << 10;

std::unique_ptr<broker::Driver> SimulatedGpu(const std::string& gpu) {
  broker::SimOptions sim;
  sim.gpu = gpu;
  return *broker::CreateSimDriver(sim);
}

}  // namespace

WorkerHarness::WorkerHarness(const std::string& gpu) : WorkerHarness(SimulatedGpu(gpu)) {}

WorkerHarness::WorkerHarness(std::unique_ptr<broker::Driver> driver) : instances_(std::random_device{}()) {
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) != 0) abort();
  supervisor_ = pair[0];
  broker::WorkerOptions options;
  options.supervisor = broker::Fd(pair[1]);
  const abi::Table& table = *abi::ChooseTable(driver->info().version).table;
  options.verdicts = broker::Verdicts::OfTable(table).Encode(table);
  options.driver = std::move(driver);
  // The thread that makes a worker runs it: its loop is of one thread.
  thread_ = std::thread(
      [options = std::move(options)]() mutable { (*broker::Worker::Create(std::move(options)))->Run(); });
}

WorkerHarness::~WorkerHarness() {
  close(supervisor_);
  thread_.join();
}

int WorkerHarness::NewConnection(uint32_t guest_id) {
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) abort();
  ToWorker message;
  message.mutable_attach()->set_guest_id(guest_id);
  message.mutable_attach()->set_instance(instances_ + guest_id);
  message.mutable_attach()->set_name("test");
  const int fds[] = {pair[1]};
  while (!broker::Send(supervisor_, message.SerializeAsString(), fds)) {
    pollfd entry{supervisor_, POLLOUT, 0};
    poll(&entry, 1, -1);
  }
  close(pair[1]);
  return pair[0];
}

std::unique_ptr<RawGuest> WorkerHarness::NewProcess(uint32_t guest_id, Refused* refusal) {
  return RawGuest::Attach(NewConnection(guest_id), refusal);
}

WorkerStatistics WorkerHarness::Statistics() {
  ToWorker request;
  request.mutable_statistics();
  broker::Send(supervisor_, request.SerializeAsString());
  std::vector<char> bytes(kMessageSizeBytesMax);
  for (;;) {
    pollfd entry{supervisor_, POLLIN, 0};
    poll(&entry, 1, -1);
    const ssize_t received = broker::Receive(supervisor_, bytes);
    FromWorker message;
    if (received > 0 && message.ParseFromArray(bytes.data(), static_cast<int>(received)) &&
        message.has_statistics())
      return message.statistics();
  }
}

void WorkerHarness::AwaitEmpty() {
  for (;;) {
    const WorkerStatistics statistics = Statistics();
    uint64_t held = 0;
    for (const GuestStatistics& guest : statistics.guests())
      held += guest.processes() + guest.files() + guest.clients() + guest.objects();
    if (held == 0) return;
  }
}

}  // namespace nvshim::testing
