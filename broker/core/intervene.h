// The calls that reach the driver otherwise than the guest wrote them, or not at all: arguments that are
// limited (Verdict::kClamp) and controls that the core answers (Verdict::kAnswer). Pure.
#ifndef BROKER_CORE_INTERVENE_H_
#define BROKER_CORE_INTERVENE_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "broker/core/handle_table.h"
#include "broker/core/refusal.h"
#include "broker/core/request_check.h"
#include "broker/driver/call.h"

namespace nvshim::broker {

// The longest time that the channels of a group may hold the GPU before the next group has its turn; more
// would let one guest starve the others. A guess: well above what a scheduler gives by itself, and still
// short to a person.
inline constexpr uint64_t kTimesliceUsMax = 30'000;

// Limits the arguments of a call whose verdict is kClamp, and afterwards gives the guest its own back: the
// driver only reads them. `original` is the buffer as the guest sent it, same segments.
void ClampArguments(const CheckedCall& checked, DriverCall& call);
void RestoreArguments(const CheckedCall& checked, const std::vector<uint8_t>& original, DriverCall& call);

// Answers a control whose verdict is kAnswer in `call`, with NV_OK and the parameters as they came; or says
// that the object it is for is not there. `original` as above.
std::optional<Refusal> AnswerControl(const HandleTable& handles, const CheckedCall& checked,
                                     const std::vector<uint8_t>& original, DriverCall& call);

}  // namespace nvshim::broker

#endif  // BROKER_CORE_INTERVENE_H_
