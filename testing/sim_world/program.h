// What one thread of an honest program does: opens a ctl and a GPU file, makes a client and a device,
// allocates, maps and frees memory, asks, closes, begins again. Its objects are its own, so that it knows the
// answer to each of its calls whatever anybody else does; only a driver that fails, which its world tells it,
// and a quota may say otherwise. A program that meets a failure gives up: it closes what it has.
#ifndef TESTING_SIM_WORLD_PROGRAM_H_
#define TESTING_SIM_WORLD_PROGRAM_H_

#include <cstdint>
#include <string>
#include <vector>

#include "broker/core/event.h"
#include "broker/driver/call.h"
#include "broker/driver/driver.h"
#include "testing/property/random_request.h"

namespace nvshim::testing {

inline constexpr uint32_t kReadWrite = 2;  // O_RDWR

// A call as a guest makes it.
struct Call {
  bool opens = false;
  broker::DeviceClass device_class = broker::DeviceClass::kCtl;  // to open, or of `file`
  uint32_t minor = 0;                                            // to open
  uint32_t flags = kReadWrite;                                   // to open with
  broker::FileId file = broker::FileId::kNone;
  broker::DriverCall call;
  std::vector<broker::FileReferenceUntrusted> files;
};

// Its answer, as the guest reads it off the lane.
struct Answer {
  int error = 0;
  broker::FileId file = broker::FileId::kNone;  // opened
  bool with_segments = false;
  bool with_fd = false;
  broker::DriverCall call;
};

inline constexpr uint32_t kNoMemory = 0x51;  // NV_ERR_NO_MEMORY
inline constexpr uint32_t kDevice = 0x5c000001;

// What an escape of the program's says in its parameters.
namespace program {
inline constexpr uint32_t kFree = 0x29, kControl = 0x2a, kAlloc = 0x2b, kMapMemory = 0x4e, kRegisterFd = 0xc9;
inline constexpr uint32_t kClientClass = 0x41, kDeviceClass = 0x80, kMemoryClass = 0x40;
}  // namespace program

class Program {
 public:
  // The next call. False: it only closes a file (see `closed`) this time.
  bool Next(broker::Random& random, Call* call);

  // The answer to that call. `failed` says that the driver, or the way to it, was made to fail; `over_quota`
  // that the memory asked for is more than is left. "" or what it did not expect.
  std::string Take(const Answer& answer, bool failed, bool over_quota);

  // Files that it has closed since this was called last.
  std::vector<broker::FileId> TakeClosed();

  // One of its files, to be passed to somebody else; kNone when it has none.
  broker::FileId ctl() const { return ctl_; }

 private:
  enum class Doing {
    kOpenCtl,
    kOpenGpu,
    kRegister,
    kMakeClient,
    kMakeDevice,
    kMakeMemory,
    kMap,
    kAsk,
    kFreeMemory,
    kFreeClient
  };

  Doing Choose(broker::Random& random) const;
  broker::DriverCall Make(broker::Random& random);
  void Forget();

  broker::FileId ctl_ = broker::FileId::kNone, gpu_ = broker::FileId::kNone;
  bool registered_ = false;
  uint32_t client_ = 0;
  bool device_ = false;
  std::vector<uint32_t> memories_;
  uint32_t last_memory_ = 0x100;
  Doing doing_ = Doing::kOpenCtl;
  uint32_t about_ = 0;  // the memory that the call is about
  std::vector<broker::FileId> closed_;
};

}  // namespace nvshim::testing

#endif  // TESTING_SIM_WORLD_PROGRAM_H_
