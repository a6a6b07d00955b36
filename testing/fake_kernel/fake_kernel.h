// A kernel with NVIDIA's driver loaded, without either: answers the kernel driver's open, ioctl and close
// from the simulated driver, keeps the rules of the real one that the simulated driver cannot know, because
// they concern descriptors and processes, and writes down every call.
//
// Each open device file is an eventfd, so that it can be polled; when a mapping is put into it, it becomes
// the memory that is mapped. Which rules:
//   - a device (NV01_DEVICE_0) can only be made by a process that has a GPU's file open;
//   - a UVM file can only be mapped by another process in multi-process mode;
//   - host memory is taken from the address space of the caller;
//   - controls for root (root_only_controls) want CAP_SYS_ADMIN of the caller, at each call.
#ifndef TESTING_FAKE_KERNEL_FAKE_KERNEL_H_
#define TESTING_FAKE_KERNEL_FAKE_KERNEL_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "broker/driver/kernel/kernel.h"
#include "broker/driver/sim/sim_driver.h"
#include "preload/marshal.h"

namespace nvshim::testing {

struct FakeKernelOptions {
  broker::SimOptions sim;
  std::set<uint32_t> root_only_controls;
  std::string lost;  // a device file that gives EIO when it is opened, as that of a GPU that fell off the bus
  // Hears each call, as "open 1 /dev/nvidiactl", "ioctl 1 NV_ESC_RM_ALLOC 0x41 = 0x0" (which file, what, its
  // class or command, the errno or else the NV_STATUS; "onto 6" when file 6 gets a mapping, "with 6" when
  // parameters name it), "close 1". Files are numbered as they are opened.
  std::function<void(const std::string&)> record;
};

class FakeKernel : public broker::kernel::Kernel {
 public:
  explicit FakeKernel(FakeKernelOptions options);
  ~FakeKernel() override;

  int Open(const std::string& path, int flags) override;
  int Ioctl(int fd, uint32_t request, void* argument) override;
  void Close(int fd) override;
  std::optional<std::string> Read(const std::string& path) override;
  std::vector<std::string> List(const std::string& path) override;
  bool Watch(int fd, uint64_t id) override;
  absl::flat_hash_set<uint64_t> Held() override;

  // Makes an OS event on the file of `fd` happen.
  void Fire(int fd);
  // The descriptor that Open returned last.
  int last_fd() const { return last_fd_; }

 private:
  struct File {
    uint32_t number;  // in the record
    broker::DeviceNode node;
    broker::DriverFileId sim;
    int inotify_watch = -1;  // of the memory that it has become
  };

  int RunIoctl(int fd, File& file, const preload::GatheredCall& gathered);
  std::string CarrierOf(const preload::GatheredCall& gathered) const;
  int Forward(int fd, File& file, const preload::GatheredCall& gathered, broker::DriverCall& call);
  uint32_t RefusalOf(const broker::DriverCall& call) const;
  bool NamePages(File& file, broker::DriverCall& call);
  void BecomeMemory(int fd, File& file, broker::DriverFileId mapped);
  void Note(const std::string& call);
  void ReadReleases();
  void RunEvents();

  const FakeKernelOptions options_;
  std::unique_ptr<broker::SimDriver> sim_;
  const abi::Table* const table_;
  std::mutex mutex_;
  uint32_t opened_ = 0;
  int last_fd_ = -1;
  std::map<int, File> files_;  // by descriptor
  int inotify_;
  std::map<int, int> open_memories_;  // by inotify watch: open files of that memory
  std::map<uint64_t, int> watched_;   // id -> inotify watch
  int stop_;
  // The simulated driver wants a file that could carry new pages back with each call for host memory. There
  // are none.
  const broker::DriverFileId page_carrier_;
  std::thread events_;
};

}  // namespace nvshim::testing

#endif  // TESTING_FAKE_KERNEL_FAKE_KERNEL_H_
