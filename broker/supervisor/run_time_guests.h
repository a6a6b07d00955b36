// What operators have said of single guests while the broker ran: sockets that they have added, and limits.
// It lasts until the broker is stopped: a file in the runtime folder keeps it for the next supervisor, after
// a crash or a restart. One thread.
#ifndef BROKER_SUPERVISOR_RUN_TIME_GUESTS_H_
#define BROKER_SUPERVISOR_RUN_TIME_GUESTS_H_

#include <map>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "broker/core/resource.h"
#include "google/protobuf/repeated_field.h"
#include "proto/control.pb.h"

namespace nvshim::broker {

// Limits of some kinds.
using SomeLimits = std::map<Resource, uint64_t>;

// Checks what a client of the control socket has sent: kinds that exist, and limits that a guest can have.
absl::StatusOr<SomeLimits> LimitsFrom(const google::protobuf::RepeatedPtrField<OwnLimit>& message);

// Whether a guest may be called so: letters, digits, '.', '_' and '-', 64 of them at most and the first a
// letter or a digit. It becomes part of a path.
bool IsGuestName(const std::string& name);

class RunTimeGuests {
 public:
  // Guests that anything is said of.
  static constexpr size_t kGuestsMax = 4096;

  struct Guest {
    std::string socket;  // path; empty: none was added
    SomeLimits limits;
  };

  explicit RunTimeGuests(std::string path) : path_(std::move(path)) {}

  // Takes what the file says, if there is one. A file that is not the broker's own, or is broken, is an
  // error, and nothing is taken.
  absl::Status Load();

  const std::map<std::string, Guest>& all() const { return guests_; }
  // What is said of this guest; nothing of one that is not here.
  Guest Get(const std::string& name) const;
  // Says something else of it, in the file as well. After an error nothing has changed.
  absl::Status Put(const std::string& name, Guest guest);

  // The broker is stopped: removes the file.
  void RemoveFile() const;

 private:
  absl::Status Save(const std::map<std::string, Guest>& guests) const;

  const std::string path_;
  std::map<std::string, Guest> guests_;
};

}  // namespace nvshim::broker

#endif  // BROKER_SUPERVISOR_RUN_TIME_GUESTS_H_
