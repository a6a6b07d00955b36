// The state of one guest: its processes with their calls in flight, its files, its handles, its counters,
// and the ledger of all that.
// Plain data with no behaviour beyond bookkeeping; core.h decides.
#ifndef BROKER_CORE_GUEST_H_
#define BROKER_CORE_GUEST_H_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "broker/core/file_table.h"
#include "broker/core/handle_table.h"
#include "broker/core/ids.h"
#include "broker/core/limits.h"
#include "broker/core/quota.h"
#include "broker/core/request_check.h"
#include "broker/core/statistics.h"
#include "proto/wire/region.h"

namespace nvshim::broker {

// A call between its request and its reply. One per lane, kept and reused so that a call allocates nothing.
struct PendingCall {
  enum class Stage : uint8_t {
    kFree,            // the lane is idle
    kOpening,         // an Open waits for the driver
    kOpeningMapping,  // an Ioctl waits for the fresh driver file that receives its mmap context
    kCalling,         // an Ioctl is with the driver
  };
  Stage stage = Stage::kFree;
  Charge lane;
  uint32_t sequence = 0;
  FileId file = FileId::kNone;
  CheckedCall checked;
  ClientHandle new_client{};          // chosen for a call that makes a client
  std::vector<uint8_t> original;      // the guest's bytes, as sent
  ObjectCharges charges;              // what the call takes, until the object that it makes has it
  Charge bytes;                       // for `original`
  DriverCall call;                    // while the fresh driver file is opened
  FileId named_file = FileId::kNone;  // the file that the struct's fd field names; stays open meanwhile
  bool wants_mapping = false;         // that fd receives an mmap context
  uint32_t fd_offset = 0;             // where it stands in the struct
  DriverFileId mapping = 0;           // the fresh driver file that receives the context
};

struct Process {
  uint32_t pid_untrusted = 0;  // what the guest calls it; 0: it has not said
  bool gone = false;           // left with calls in flight: forgotten when the last has returned
  uint32_t calls_in_flight = 0;
  Account* account = nullptr;
  Charge charge;
  std::array<std::unique_ptr<PendingCall>, wire::kLaneCount> calls;  // made at a lane's first use

  // Null when the guest may have no more lanes.
  PendingCall* OnLane(uint32_t lane) {
    if (calls[lane] != nullptr) return calls[lane].get();
    Charge charge_of_lane = account->Take(Resource::kLanes, 1);
    if (!charge_of_lane) return nullptr;
    calls[lane] = std::make_unique<PendingCall>();
    calls[lane]->lane = std::move(charge_of_lane);
    return calls[lane].get();
  }
};

struct Guest {
  explicit Guest(const Limits& limits) : ledger(limits) {}

  // Both outlive the charges in all below.
  Ledger ledger;
  absl::flat_hash_map<uint32_t, std::unique_ptr<Account>> accounts;  // by uid
  absl::flat_hash_map<ProcessId, std::unique_ptr<Process>> processes;
  FileTable files;
  HandleTable handles;
  Counters counters;

  size_t objects() const { return handles.objects() + files.exported_objects(); }
};

}  // namespace nvshim::broker

#endif  // BROKER_CORE_GUEST_H_
