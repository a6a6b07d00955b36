// Limits as the broker's processes send them to each other.
#ifndef BROKER_IO_LIMITS_MESSAGE_H_
#define BROKER_IO_LIMITS_MESSAGE_H_

#include "broker/core/resource.h"
#include "proto/control.pb.h"

namespace nvshim::broker {

inline void PutLimits(const broker::Limits& limits, nvshim::Limits* message) {
  message->clear_values();
  for (uint64_t value : limits.values()) message->add_values(value);
}

// What the message does not say is as in `otherwise`.
inline broker::Limits LimitsIn(const nvshim::Limits& message, broker::Limits otherwise) {
  for (int i = 0; i < message.values_size() && i < static_cast<int>(kResourceCount); ++i)
    otherwise[static_cast<Resource>(i)] = message.values(i);
  return otherwise;
}

// What the guest may have.
inline broker::Limits LimitsOf(const GuestStatistics& guest) {
  return LimitsIn(guest.limits(), DefaultLimits());
}

}  // namespace nvshim::broker

#endif  // BROKER_IO_LIMITS_MESSAGE_H_
