// Law: the worker sees every process leave and every file closed, however many at once: more than its ring
// has room for.
#include <gtest/gtest.h>
#include <unistd.h>

#include <memory>
#include <vector>

#include "testing/guest/raw_guest.h"
#include "testing/guest/worker_harness.h"

namespace nvshim::testing {
namespace {

// Above the entries of the loop's completion queue.
constexpr uint32_t kProcesses = 300;

TEST(DeparturesTest, AllAtOnce) {
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
