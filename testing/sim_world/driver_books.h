// What a simulated world knows of its driver: what each open file is, the ctl file that it is registered to,
// and whose each client is, as the core has been told. Holds every call to the rules that RM itself checks by
// process only, and to property/laws.h.
#ifndef TESTING_SIM_WORLD_DRIVER_BOOKS_H_
#define TESTING_SIM_WORLD_DRIVER_BOOKS_H_

#include <cstdint>
#include <map>
#include <string>

#include "broker/core/action.h"
#include "testing/property/laws.h"

namespace nvshim::testing {

class DriverBooks {
 public:
  explicit DriverBooks(const broker::CallLaws& laws) : laws_(laws) {}

  void Opened(broker::DriverFileId file, broker::DeviceClass device_class) {
    files_[file] = {device_class, 0};
  }
  // Its clients go with it.
  void Closed(broker::DriverFileId file);

  // "" when the driver may be asked this, else the law that it breaks.
  std::string WrongIn(const broker::DriverIoctl& ioctl) const;

  // A call is about to return to the core, with `error`.
  void Returns(const broker::DriverIoctl& ioctl, int error);

  // Puts into a call what a driver leaves there: addresses and descriptors of the worker.
  void LeaveTraces(broker::DriverIoctl& ioctl) const;

  const abi::Spec* SpecOf(const broker::DriverIoctl& ioctl) const {
    return laws_.SpecOf(ClassOf(ioctl.file), ioctl.call);
  }
  size_t files() const { return files_.size(); }
  // The `i`-th.
  broker::DriverFileId FileAt(uint32_t i) const;

 private:
  struct File {
    broker::DeviceClass device_class;
    broker::DriverFileId registered_ctl;  // 0: none
  };
  struct Client {
    broker::GuestId guest;
    broker::DriverFileId file;
  };

  broker::DeviceClass ClassOf(broker::DriverFileId file) const;
  bool MayIssue(const broker::DriverIoctl& ioctl, const abi::Spec& spec) const;

  const broker::CallLaws& laws_;
  std::map<broker::DriverFileId, File> files_;
  std::map<uint32_t, Client> clients_;  // by the driver's number
};

// Whether the call makes an RM client.
bool MakesClient(const broker::DriverCall& call);

}  // namespace nvshim::testing

#endif  // TESTING_SIM_WORLD_DRIVER_BOOKS_H_
