// Is a request one that the driver would understand? Compares what a guest sent with the spec: numbers known,
// sizes exact, every buffer explained by a pointer and as long as its length rule says. After it, the layout
// of a call can be relied on; handles and files are the business of translate.h. Pure.
#ifndef BROKER_CORE_REQUEST_CHECK_H_
#define BROKER_CORE_REQUEST_CHECK_H_

#include <optional>
#include <variant>

#include "broker/core/refusal.h"
#include "broker/core/verdict.h"
#include "broker/driver/call.h"
#include "broker/driver/driver.h"
#include "proto/abi/spec.h"

namespace nvshim::broker {

// What the numbers of a request mean.
struct CheckedCall {
  const abi::Spec* spec = nullptr;    // escape or UVM call; describes segment 0
  const abi::Spec* nested = nullptr;  // control or class; describes segment `nested_segment`
  uint32_t nested_segment = 0;        // 0: the nested parameters are absent (NULL)
  uint32_t pieces_segment = 0;        // of host memory: the list of abi::HostPiece; else 0
  Verdict verdict = Verdict::kDeny;   // of `nested` where there is one, else of `spec`
  bool would_be_denied = false;       // only the policy's shadow lets it pass
  // When set, the call goes no further; with `spec` set, segment 0 holds that struct and can take a status.
  std::optional<Refusal> refusal;
};

// Checks `call` for a file of class `device_class`, and what the policy says to it. `verdicts` are of
// `table`. Pointer fields in the bytes are set to 0: from here on only the segments tell what is there.
CheckedCall CheckRequest(const abi::Table& table, const Verdicts& verdicts, DeviceClass device_class,
                         DriverCall& call);

// Whether the call is the RM escape `number`. UVM requests have small numbers too, but carry no `objects`;
// every escape that is asked for has some.
inline bool IsEscape(const CheckedCall& checked, uint32_t number) {
  return checked.spec->number == number && checked.spec->objects.size != 0;
}

}  // namespace nvshim::broker

#endif  // BROKER_CORE_REQUEST_CHECK_H_
