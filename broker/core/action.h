// What the core wants done. Actions are carried out in order by the worker, which never decides anything
// itself.
#ifndef BROKER_CORE_ACTION_H_
#define BROKER_CORE_ACTION_H_

#include <cstdint>
#include <variant>

#include "broker/core/ids.h"
#include "broker/core/refusal.h"
#include "broker/driver/call.h"
#include "broker/driver/driver.h"

namespace nvshim::broker {

// Answered by DriverOpened.
struct DriverOpen {
  CallToken token;
  DeviceNode node;
  uint32_t flags;
};

// Answered by DriverReturned.
struct DriverIoctl {
  CallToken token;
  DriverFileId file;
  DriverCall call;
  bool may_block;
};

struct DriverClose {
  DriverFileId file;
};

// With error 0 the worker makes the placeholder of `file`, sends the guest's end, then the reply; when it
// cannot, it replies the errno and reports FileHungUp.
struct ReplyOpen {
  CallToken token;
  uint32_t sequence;
  int error;
  FileId file;
  DeviceNode node;
};

struct ReplyIoctl {
  CallToken token;
  uint32_t sequence;
  int error;
  bool with_segments;
  DriverCall call;  // the bytes to give back; returned to the lane as its buffer even without segments
  // When not 0: the descriptor of this driver file's mmap context goes to the guest, to replace the fd that
  // stands at (replace_segment, replace_field_offset); afterwards the worker closes the driver file.
  DriverFileId mapping = 0;
  uint32_t replace_segment = 0;
  uint32_t replace_field_offset = 0;
  // When not 0: the descriptor that this driver file is mapped as goes to the guest and replaces nothing. The
  // driver file stays open.
  DriverFileId mappable = 0;
};

// The worker drops its end of the placeholder.
struct ClosePlaceholder {
  GuestId guest;
  FileId file;
};

// The worker makes the guest's descriptor of the file readable, if it is not.
struct SignalFile {
  GuestId guest;
  FileId file;
};

// One for each refusal. Which of them become lines of the log decides the worker.
struct NoteRefusal {
  GuestId guest;
  Refusal refusal;
  bool in_shadow = false;  // not refused: the policy is only tried out
};

using Action = std::variant<DriverOpen, DriverIoctl, DriverClose, ReplyOpen, ReplyIoctl, ClosePlaceholder,
                            SignalFile, NoteRefusal>;

}  // namespace nvshim::broker

#endif  // BROKER_CORE_ACTION_H_
