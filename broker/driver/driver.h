// What the broker needs of a driver: calls on files, and to hear which files have events. Behind it: the
// kernel's device files, the simulated driver, or a recorded trace. Calls come from the thread that runs the
// worker's loop (specs that may block: from one pool thread at a time per file). The core has checked every
// size, handle and file before a call gets here; a driver trusts the layout of a call and nothing about its
// contents.
#ifndef BROKER_DRIVER_DRIVER_H_
#define BROKER_DRIVER_DRIVER_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "broker/driver/call.h"

namespace nvshim::broker {

// The numbers of DeviceClass in proto/frame.proto.
enum class DeviceClass : uint8_t { kCtl = 1, kGpu = 2, kUvm = 3, kUvmTools = 4 };

struct DeviceNode {
  DeviceClass device_class;
  uint32_t minor;  // N of /dev/nvidiaN, 0 for the other classes
};

struct OpenResult {
  int error;          // errno, 0 = opened
  DriverFileId file;  // valid with error 0
};

struct MapResult {
  int error;              // errno, 0 = mappable
  int fd;                 // valid with error 0; owned by the caller
  bool doorbell = false;  // a page of doorbells that somebody has to watch: of a simulated GPU
};

// The doorbell pages of one guest process, as a simulated GPU sees them. Called by any thread of the driver.
class Doorbell {
 public:
  virtual ~Doorbell() = default;

  // Asks for Driver::Ring at the next store. The answer comes later, or never: not every guest can tell.
  virtual void Arm() = 0;

  // True from the moment when no store goes unnoticed until there is one.
  virtual bool armed() = 0;
};

struct GpuInfo {
  uint32_t minor;
  std::string bus_id;                  // "0000:01:00.0"
  std::string name;                    // as nvidia-smi prints it
  std::string uuid;                    // "GPU-..." 40 characters
  uint64_t memory_bytes = 0;           // 0: not known
  uint64_t memory_reserved_bytes = 0;  // of it, for nobody
};

struct DriverInfo {
  std::string version;  // "535.261.03"
  uint32_t uvm_major;
  std::vector<GpuInfo> gpus;
  std::vector<std::pair<std::string, std::string>> files;  // path below /proc or /sys, contents
};

class Driver {
 public:
  virtual ~Driver() = default;

  virtual const DriverInfo& info() const = 0;

  // Opens a device node; blocking. `flags` are the guest's O_* flags.
  virtual OpenResult Open(DeviceNode node, uint32_t flags) = 0;

  // Executes `call` on `file` and leaves the results in its segments. Returns the errno of the ioctl, 0 for
  // none; NV_STATUS fields are inside the bytes.
  virtual int Ioctl(DriverFileId file, DriverCall& call) = 0;

  // After a call that installed an mmap context on `file` (fd field of use FD_USE_MAPPING): the descriptor
  // that a guest may mmap at offset 0. EINVAL when `file` has no context.
  virtual MapResult Map(DriverFileId file) = 0;

  // Closes the file; RM clients made on it are freed as the kernel module does, but not before the guest's
  // mappings of their memory are gone.
  virtual void Close(DriverFileId file) = 0;

  // Makes up for what Close had to put off, as far as it can. Returns how many files are still kept open.
  virtual size_t Reap() { return 0; }

  // Doorbells of simulated GPUs; hardware sees its own. From AddDoorbell to RemoveDoorbell, whose return ends
  // all use, a guest process may give work by a store to a page that it got with MapResult::doorbell.
  virtual void AddDoorbell(Doorbell* /*doorbell*/) {}
  virtual void RemoveDoorbell(Doorbell* /*doorbell*/) {}
  // Somebody stored.
  virtual void Ring() {}

  // Polls readable while TakeSignals has something to give; -1 for a driver whose files have no events. The
  // driver's own, valid as long as it.
  virtual int signal_fd() const { return -1; }

  // Appends the files that have become readable (an OS event fired) since this was called last, each once.
  virtual void TakeSignals(std::vector<DriverFileId>* /*files*/) {}
};

}  // namespace nvshim::broker

#endif  // BROKER_DRIVER_DRIVER_H_
