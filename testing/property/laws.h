// Laws of the calls between guests and a driver, for whatever plays the driver in a test: what of a call may
// reach the driver, and what of its answer may differ from what the guest sent.
#ifndef TESTING_PROPERTY_LAWS_H_
#define TESTING_PROPERTY_LAWS_H_

#include <cstdint>
#include <functional>
#include <string>

#include "broker/core/verdict.h"
#include "broker/driver/call.h"
#include "broker/driver/driver.h"
#include "proto/abi/spec.h"

namespace nvshim::broker {

class CallLaws {
 public:
  using IsOwnClient = std::function<bool(uint32_t real_handle)>;

  // `table` must live as long as this; `verdicts` are of that table.
  CallLaws(const abi::Table& table, Verdicts verdicts) : table_(table), verdicts_(std::move(verdicts)) {}

  const abi::Table& table() const { return table_; }

  // The spec of a call on a file of `device_class`; null for one that is in no table.
  const abi::Spec* SpecOf(DeviceClass device_class, const DriverCall& call) const;
  // That of the control or class which a call of `spec` names; null for one that is in no table.
  const abi::Spec* NestedOf(const abi::Spec& spec, const DriverCall& call) const;

  // "" when the policy lets the call pass, every client handle in it is the guest's own, one is there where
  // RM asks in a client's name, and neither a pointer nor the number of a descriptor of the guest's is left
  // in its bytes; else what is wrong.
  std::string WrongAtDriver(DeviceClass device_class, const DriverCall& call,
                            const IsOwnClient& is_own) const;

  // "" when the answer is laid out as the request, with the guest's own bytes in pointers, descriptors and
  // handles; else what is wrong. Requests whose layout is not the spec's are passed over.
  std::string WrongInAnswer(DeviceClass device_class, const DriverCall& asked,
                            const DriverCall& answered) const;

 private:
  bool Passes(const abi::Spec& spec) const;
  static std::string Foreign(const abi::Spec& spec, const DriverCall& call, uint32_t segment,
                             bool may_be_none, const IsOwnClient& is_own);
  static std::string Changed(const abi::Spec& spec, const DriverCall& asked, const DriverCall& answered,
                             uint32_t segment);

  const abi::Table& table_;
  Verdicts verdicts_;
};

}  // namespace nvshim::broker

#endif  // TESTING_PROPERTY_LAWS_H_
