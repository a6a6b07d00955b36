// What a guest is shown in place of the driver's answer, where that speaks of the whole machine: memory no
// larger than its quota, and no processes but its own. Pure.
#ifndef BROKER_CORE_FILTER_H_
#define BROKER_CORE_FILTER_H_

#include <vector>

#include "broker/core/handle_table.h"
#include "broker/core/ledger.h"
#include "broker/core/request_check.h"
#include "broker/driver/call.h"

namespace nvshim::broker {

// Rewrites the answer to a call that has succeeded; `original` is the buffer as the guest sent it, same
// segments.
void FilterAnswer(const HandleTable& handles, const Account& account, const CheckedCall& checked,
                  const std::vector<uint8_t>& original, DriverCall& call);

}  // namespace nvshim::broker

#endif  // BROKER_CORE_FILTER_H_
