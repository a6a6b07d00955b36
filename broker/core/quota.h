// How much video memory a guest has, and how much it may have. A call that takes memory is charged before the
// driver sees it; the charge then belongs to the object that the call made, is shared by the duplicates of
// that object, and ends with the last of them, however that one goes. Counted is what allocations ask for:
// not what a driver keeps for itself per context, nor the pages that UVM moves by itself. Pure.
#ifndef BROKER_CORE_QUOTA_H_
#define BROKER_CORE_QUOTA_H_

#include <cstdint>
#include <limits>
#include <memory>
#include <optional>

#include "broker/core/request_check.h"
#include "broker/driver/call.h"

namespace nvshim::broker {

inline constexpr uint64_t kNoQuota = std::numeric_limits<uint64_t>::max();

class MemoryLedger;

// A part of a ledger's memory, given back by the destructor. Must not outlive the ledger.
class MemoryCharge {
 public:
  MemoryCharge(MemoryLedger* ledger, uint64_t size_bytes);
  MemoryCharge(const MemoryCharge&) = delete;
  MemoryCharge& operator=(const MemoryCharge&) = delete;
  ~MemoryCharge();

  uint64_t size_bytes() const { return size_bytes_; }
  // The driver gave more than was asked for: it rounds up to pages. May pass the quota by that much.
  void GrowTo(uint64_t size_bytes);

 private:
  MemoryLedger* ledger_;
  uint64_t size_bytes_;
};

// Null: no video memory.
using SharedCharge = std::shared_ptr<MemoryCharge>;

class MemoryLedger {
 public:
  explicit MemoryLedger(uint64_t quota_bytes) : quota_bytes_(quota_bytes) {}
  MemoryLedger(const MemoryLedger&) = delete;
  MemoryLedger& operator=(const MemoryLedger&) = delete;

  // A charge of `size_bytes`; null when the quota leaves less.
  SharedCharge Charge(uint64_t size_bytes);

  uint64_t quota_bytes() const { return quota_bytes_; }
  uint64_t used_bytes() const { return used_bytes_; }
  uint64_t free_bytes() const { return used_bytes_ < quota_bytes_ ? quota_bytes_ - used_bytes_ : 0; }

 private:
  friend class MemoryCharge;
  uint64_t quota_bytes_;
  uint64_t used_bytes_ = 0;
};

// The bytes of video memory that a checked call asks for, or, after it has succeeded, was given; nothing when
// it allocates none. Which calls do: vidmemConstruct and _rmVidHeapControlAllocCommon of the driver.
std::optional<uint64_t> VideoMemoryBytes(const CheckedCall& checked, const DriverCall& call);

}  // namespace nvshim::broker

#endif  // BROKER_CORE_QUOTA_H_
