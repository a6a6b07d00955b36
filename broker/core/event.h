// What happens to the core: everything it learns comes in as one of these, in one order, so that the same
// list gives the same actions. Contents that a guest wrote are private copies by now and still unchecked.
#ifndef BROKER_CORE_EVENT_H_
#define BROKER_CORE_EVENT_H_

#include <cstdint>
#include <memory>
#include <variant>
#include <vector>

#include "broker/core/ids.h"
#include "broker/core/ledger.h"
#include "broker/core/verdict.h"
#include "broker/driver/call.h"
#include "broker/driver/driver.h"

namespace nvshim::broker {

struct GuestAdded {
  GuestId guest;
  Limits limits = DefaultLimits();
};

// Processes of this uid are bound by what all guests of the uid may have together, from now on; without it,
// only by what the guest may. Told again, what they hold moves to the new level.
struct UidAdded {
  GuestId guest;
  uint32_t uid;
  std::shared_ptr<UidLevel> level;
};

// What the guest may have is this from now on. What it holds beyond that it keeps, and gets no more of.
// Frames that wait for their turn may ask anew when it is: by this rate, and by that of a level that has come
// before.
struct LimitsChanged {
  GuestId guest;
  Limits limits;
};

// What guests get of each call is this from now on; `verdicts` are of the core's table. Calls that are under
// way end as they began, and what was made stays.
struct PolicyChanged {
  Verdicts verdicts;
};

// The guest is empty and forgotten, with its counters.
struct GuestRemoved {
  GuestId guest;
};

// The guest may be at its limit: then the process is not known afterwards.
struct ProcessAttached {
  GuestId guest;
  ProcessId process;
  uint32_t pid_untrusted = 0;  // what the process calls itself; shown to its own guest only
  uint32_t uid = 0;
};

// From a frame of kind Open.
struct OpenRequested {
  CallToken token;
  uint32_t sequence;
  uint32_t device_class_untrusted;
  uint32_t minor_untrusted;
  uint32_t flags_untrusted;
};

// An fd field told as a file; from a FileReference of a frame.
struct FileReferenceUntrusted {
  uint32_t segment;
  uint32_t field_offset;
  uint32_t file_id;
};

// From a frame of kind Ioctl. The framing is checked: segments lie inside the buffer and name earlier
// parents.
struct IoctlRequested {
  CallToken token{};
  uint32_t sequence = 0;
  uint32_t file_id_untrusted = 0;
  DriverCall call_untrusted;
  std::vector<FileReferenceUntrusted> files_untrusted;
};

// The driver answered a DriverOpen.
struct DriverOpened {
  CallToken token;
  OpenResult result;
};

// The driver answered a DriverIoctl.
struct DriverReturned {
  CallToken token;
  int error;
  DriverCall call;
};

// A process proved that it holds a placeholder.
struct FileClaimed {
  GuestId guest;
  FileId file;
  uint32_t process_untrusted;
};

// The guest's last descriptor of a file is closed.
struct FileHungUp {
  GuestId guest;
  FileId file;
};

// The driver says that a file has become readable: an OS event fired.
struct FileSignalled {
  DriverFileId file;
};

struct ProcessGone {
  GuestId guest;
  ProcessId process;
};

using Event = std::variant<GuestAdded, UidAdded, LimitsChanged, PolicyChanged, GuestRemoved, ProcessAttached,
                           OpenRequested, IoctlRequested, DriverOpened, DriverReturned, FileClaimed,
                           FileHungUp, FileSignalled, ProcessGone>;

}  // namespace nvshim::broker

#endif  // BROKER_CORE_EVENT_H_
