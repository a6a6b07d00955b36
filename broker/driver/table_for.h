// The table to serve a driver of some version with, or the words in which a broker says that it has none.
#ifndef BROKER_DRIVER_TABLE_FOR_H_
#define BROKER_DRIVER_TABLE_FOR_H_

#include <string_view>

#include "absl/status/statusor.h"
#include "proto/abi/spec.h"

namespace nvshim::broker {

// What abi::ChooseTable chooses; the table is there. FailedPrecondition for a version of an unknown branch
// and for what is no version: the message names the nearest versions that are known, and all of them.
absl::StatusOr<abi::Choice> TableFor(std::string_view driver_version);

}  // namespace nvshim::broker

#endif  // BROKER_DRIVER_TABLE_FOR_H_
