// The driver as the core's histories meet it: RM's rules for clients and objects in their simplest form, kept
// by guest, so that a test can ask whose a file or client handle is. Real client numbers run on over all
// guests, as the driver's do, in the range where guests see their own: a number that slips through
// untranslated names something.
#ifndef TESTING_PROPERTY_MODEL_DRIVER_H_
#define TESTING_PROPERTY_MODEL_DRIVER_H_

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "broker/core/ids.h"
#include "broker/core/resource.h"
#include "broker/driver/call.h"
#include "broker/driver/driver.h"
#include "proto/abi/spec.h"
#include "testing/property/laws.h"

namespace nvshim::broker {

class ModelDriver {
 public:
  // A driver of the version that `laws` are of.
  explicit ModelDriver(const CallLaws& laws) : laws_(laws) {}

  // A new open file, opened for `guest`.
  DriverFileId Open(GuestId guest, DeviceNode node);

  // Closes it, and frees the clients made on it. False when it is not open.
  bool Close(DriverFileId file);

  bool IsOpen(DriverFileId file) const { return files_.contains(file); }
  bool Owns(GuestId guest, DriverFileId file) const;

  // "" when every file and every client handle of the call is `guest`'s and the call keeps the laws; else
  // what is wrong.
  std::string Foreign(GuestId guest, DriverFileId file, const DriverCall& call) const;

  // Executes the call as RM would; `status_wanted` other than 0 makes it fail with that status. All that a
  // driver may write is overwritten.
  void Execute(DriverFileId file, DriverCall& call, uint32_t status_wanted);

  size_t files() const { return files_.size(); }
  // The guest's clients, objects and channels, and the memory that its objects stand for; what duplicates
  // share once.
  Amounts held(GuestId guest) const;

  // What of these a call asks for.
  static Amounts Asked(const DriverCall& call);

 private:
  struct OpenFile {
    GuestId guest;
    DeviceNode node;
  };
  struct Memory {
    Resource resource;
    uint64_t size_bytes;
  };
  struct Client {
    GuestId guest;
    DriverFileId file;
    std::map<uint32_t, uint32_t> parents;                // object -> parent
    std::map<uint32_t, std::shared_ptr<Memory>> memory;  // of objects that have some
    std::set<uint32_t> channels;
  };

  // Each returns the status.
  uint32_t MakeClient(DriverFileId file, DriverCall& call);
  uint32_t MakeObject(DriverCall& call, uint32_t number_offset);
  uint32_t Free(uint32_t client, uint32_t object);
  std::shared_ptr<Memory> MemoryFor(const DriverCall& call) const;
  static void FreeTree(Client& client, uint32_t object);

  const CallLaws& laws_;
  std::map<DriverFileId, OpenFile> files_;
  std::map<uint32_t, Client> clients_;
  DriverFileId last_file_ = 0;
  uint32_t next_client_ = 0xc1d00000;
  uint32_t next_object_ = 0xcaf00000;
};

}  // namespace nvshim::broker

#endif  // TESTING_PROPERTY_MODEL_DRIVER_H_
