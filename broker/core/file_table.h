// The open device files of one guest, and which of its processes may name them. An id is index and
// generation, so a closed file's id never names its successor. Pure; at most kFilesPerGuestMax files.
#ifndef BROKER_CORE_FILE_TABLE_H_
#define BROKER_CORE_FILE_TABLE_H_

#include <cstdint>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "broker/core/ids.h"
#include "broker/core/ledger.h"
#include "broker/core/quota.h"
#include "broker/driver/driver.h"

namespace nvshim::broker {

// An object inside of a ctl file, with what it and its memory are charged to.
struct ExportedObject {
  Charge object;
  SharedCharge memory;
};

struct File {
  FileId id = FileId::kNone;
  DeviceNode node{};
  DriverFileId driver_file = 0;
  FileId registered_ctl = FileId::kNone;  // NV_ESC_REGISTER_FD: clients of that ctl file may be used here
  uint32_t registrants = 0;      // files registered to this one; each keeps it open, as in the driver
  uint32_t calls_in_flight = 0;  // a file is closed when the last one has returned
  bool hung_up = false;
  Charge charge;
  // Of a ctl file: the objects inside of it, by place.
  absl::flat_hash_map<uint32_t, ExportedObject> exported;
  absl::flat_hash_set<ProcessId> holders;
};

class FileTable {
 public:
  // A new entry for `node`, held by `process`, without a driver file yet. Null when the table is full, which
  // no guest's limit lets happen.
  File* Reserve(DeviceNode node, ProcessId process, Charge charge = {});

  // The file, or null. `id` may be anything.
  File* Find(FileId id);

  // The file if it is open (the driver's side is there, the guest's not closed) and `process` holds it, or
  // null.
  File* FindHeldBy(FileId id, ProcessId process);

  // Forgets the file; its id is never given out again until 2^20 others had its place.
  void Remove(FileId id);

  // Removes `process` from every holder list.
  void ForgetProcess(ProcessId process);

  size_t size() const { return size_; }

  // Objects inside of files, added up.
  size_t exported_objects() const;

 private:
  struct Slot {
    uint32_t generation = 1;
    bool used = false;
    File file;
  };

  std::vector<Slot> slots_;
  std::vector<uint32_t> free_;  // indices of unused slots
  size_t size_ = 0;
};

}  // namespace nvshim::broker

#endif  // BROKER_CORE_FILE_TABLE_H_
