#include "broker/supervisor/run_time_guests.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "broker/io/fd.h"

namespace nvshim::broker {
namespace {

constexpr size_t kNameSizeMax = 64;
constexpr mode_t kFileMode = 0600;

absl::Status Errno(const std::string& what) { return absl::ErrnoToStatus(errno, what); }

bool IsNameCharacter(char c) { return absl::ascii_isalnum(c) || c == '.' || c == '_' || c == '-'; }

}  // namespace

absl::StatusOr<SomeLimits> LimitsFrom(const google::protobuf::RepeatedPtrField<OwnLimit>& message) {
  SomeLimits limits;
  for (const OwnLimit& one : message) {
    const auto resource = FindResource(one.kind());
    if (!resource)
      return absl::InvalidArgumentError(absl::StrCat("there is no kind '", one.kind(),
                                                     "'; gpu-brokerctl limits list prints those there are"));
    const ResourceInfo& info = InfoOf(*resource);
    if (one.limit() > info.settable_max)
      return absl::InvalidArgumentError(
          absl::StrCat(one.kind(), ": the most that a guest can have is ", info.settable_max));
    if (info.unit == Unit::kPerSecond && one.limit() == 0)
      return absl::InvalidArgumentError(absl::StrCat(one.kind(), ": the least is 1"));
    limits[*resource] = one.limit();
  }
  return limits;
}

bool IsGuestName(const std::string& name) {
  return !name.empty() && name.size() <= kNameSizeMax && absl::ascii_isalnum(name[0]) &&
         std::all_of(name.begin(), name.end(), IsNameCharacter);
}

absl::Status RunTimeGuests::Load() {
  const Fd file(open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!file.valid()) return errno == ENOENT ? absl::OkStatus() : Errno(path_);
  struct stat status;
  if (fstat(file.get(), &status) != 0) return Errno(path_);
  if (!S_ISREG(status.st_mode) || status.st_uid != geteuid())
    return absl::FailedPreconditionError(absl::StrCat(path_, " is not the broker's own file"));
  RunTimeState message;
  if (!message.ParseFromFileDescriptor(file.get()))
    return absl::DataLossError(absl::StrCat(path_, " is broken"));
  std::map<std::string, Guest> guests;
  for (const KnownGuest& known : message.guests()) {
    auto limits = LimitsFrom(known.own_limits());
    if (!limits.ok())
      return absl::Status(limits.status().code(), absl::StrCat(path_, ": ", limits.status().message()));
    guests[known.name()] = {known.socket(), *std::move(limits)};
  }
  guests_ = std::move(guests);
  return absl::OkStatus();
}

RunTimeGuests::Guest RunTimeGuests::Get(const std::string& name) const {
  const auto it = guests_.find(name);
  return it == guests_.end() ? Guest() : it->second;
}

absl::Status RunTimeGuests::Put(const std::string& name, Guest guest) {
  std::map<std::string, Guest> guests = guests_;
  if (guest.socket.empty() && guest.limits.empty()) {
    guests.erase(name);
  } else {
    guests[name] = std::move(guest);
  }
  if (guests.size() > kGuestsMax) return absl::ResourceExhaustedError("there are as many guests as may be");
  if (auto status = Save(guests); !status.ok()) return status;
  guests_ = std::move(guests);
  return absl::OkStatus();
}

// The file is whole at every moment.
absl::Status RunTimeGuests::Save(const std::map<std::string, Guest>& guests) const {
  RunTimeState message;
  for (const auto& [name, guest] : guests) {
    KnownGuest* known = message.add_guests();
    known->set_name(name);
    known->set_socket(guest.socket);
    for (const auto& [resource, limit] : guest.limits) {
      OwnLimit* own = known->add_own_limits();
      own->set_kind(std::string(InfoOf(resource).name));
      own->set_limit(limit);
    }
  }
  const std::string fresh = path_ + ".new";
  const Fd file(open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, kFileMode));
  if (!file.valid()) return Errno(absl::StrCat("cannot write ", fresh));
  if (!message.SerializeToFileDescriptor(file.get())) return Errno(absl::StrCat("cannot write ", fresh));
  if (rename(fresh.c_str(), path_.c_str()) != 0) return Errno(absl::StrCat("cannot write ", path_));
  return absl::OkStatus();
}

void RunTimeGuests::RemoveFile() const { unlink(path_.c_str()); }

}  // namespace nvshim::broker
