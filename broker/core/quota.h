// Which calls take memory, of which kind, and how much: what the ledger charges them for before the driver
// sees them. Counted is what allocations ask for: not what a driver keeps for itself per context, nor the
// pages that UVM moves by itself. Pure.
#ifndef BROKER_CORE_QUOTA_H_
#define BROKER_CORE_QUOTA_H_

#include <cstdint>
#include <memory>
#include <optional>

#include "broker/core/ledger.h"
#include "broker/core/request_check.h"
#include "broker/driver/call.h"

namespace nvshim::broker {

// A charge that belongs to an object and to all duplicates of it. Null: no memory.
using SharedCharge = std::shared_ptr<Charge>;

// What an object holds beside its place in the handle table.
struct ObjectCharges {
  Charge object;   // of objects, or of clients
  Charge channel;  // when it is one
  SharedCharge memory;

  void Release() {
    object.Release();
    channel.Release();
    memory.reset();
  }
};

struct MemoryAsked {
  Resource resource;
  uint64_t size_bytes;
};

// What a checked call asks for, or, after it has succeeded, was given; nothing when it allocates no memory.
// Which calls do: vidmemConstruct, sysmemConstruct, osCreateMemFromOsDescriptor and
// _rmVidHeapControlAllocCommon of the driver.
std::optional<MemoryAsked> MemoryOf(const CheckedCall& checked, const DriverCall& call);

}  // namespace nvshim::broker

#endif  // BROKER_CORE_QUOTA_H_
