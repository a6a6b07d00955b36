// [unsafe] The worker's ends of the placeholders: one socket for each open file of each guest. Makes the
// pair, names it so that the guest can recognise it, reads claims, makes it readable when the file has an
// event, and notices the last close.
#ifndef BROKER_WORKER_PLACEHOLDERS_H_
#define BROKER_WORKER_PLACEHOLDERS_H_

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "broker/core/ids.h"
#include "broker/driver/driver.h"
#include "broker/io/fd.h"
#include "broker/io/loop.h"

namespace nvshim::broker {

class Placeholders {
 public:
  // Completions of `kind` on `loop` belong to this object.
  Placeholders(Loop* loop, uint8_t kind) : loop_(loop), kind_(kind) {}

  // Makes the placeholder of a file. Returns the guest's end; the caller sends and closes it.
  absl::StatusOr<Fd> Create(GuestId guest, uint64_t instance, FileId file, DeviceNode node);

  // The file is closed: drops the worker's end.
  void Close(GuestId guest, FileId file);

  // Makes the guest's end readable, if it is not: one message at most waits there. Does not block; what
  // cannot be sent is no loss, the guest is not reading.
  void Signal(GuestId guest, FileId file);

  std::vector<FileId> FilesOf(GuestId guest) const;

  using OnClaim = std::function<void(GuestId, FileId, uint32_t process_untrusted)>;
  using OnHangUp = std::function<void(GuestId, FileId)>;

  // Reads what has been written into the placeholder of `file`, if there is one.
  void Drain(GuestId guest, FileId file, const OnClaim& on_claim, const OnHangUp& on_hang_up);

  // Handles a completion of this object's kind.
  void Complete(const Completion& completion, const OnClaim& on_claim, const OnHangUp& on_hang_up);

 private:
  using Key = uint64_t;  // guest and file
  static Key KeyOf(GuestId guest, FileId file) {
    return uint64_t{static_cast<uint32_t>(guest)} << 32 | static_cast<uint32_t>(file);
  }
  struct Entry {
    GuestId guest;
    FileId file;
    Fd socket;
  };

  Loop* loop_;
  uint8_t kind_;
  uint32_t next_index_ = 0;                       // of loop tags; never reused while its poll is alive
  absl::flat_hash_map<uint32_t, Entry> entries_;  // by tag index
  absl::flat_hash_map<Key, uint32_t> index_of_;
};

}  // namespace nvshim::broker

#endif  // BROKER_WORKER_PLACEHOLDERS_H_
