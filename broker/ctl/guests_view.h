// The guests of a broker, and those that could be, as a table for people and as JSON. Pure.
#ifndef BROKER_CTL_GUESTS_VIEW_H_
#define BROKER_CTL_GUESTS_VIEW_H_

#include <cstdint>
#include <string>

#include "proto/control.pb.h"

namespace nvshim::broker::ctl {

// A line for each guest that is there, then for each that has a socket or limits of its own and is not there.
// What a guest chose itself is escaped. Ends with a newline.
std::string GuestsText(const BrokerStatistics& statistics);

// The same as an array of objects: docs/control.md has the fields. Ends with a newline.
std::string GuestsJson(const BrokerStatistics& statistics);

// "1.5 GiB", "380 MiB", "0 B".
std::string BytesText(uint64_t bytes);

}  // namespace nvshim::broker::ctl

#endif  // BROKER_CTL_GUESTS_VIEW_H_
