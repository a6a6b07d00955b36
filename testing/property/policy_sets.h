// The policies under which histories and simulated worlds run.
#ifndef TESTING_PROPERTY_POLICY_SETS_H_
#define TESTING_PROPERTY_POLICY_SETS_H_

#include "broker/core/verdict.h"
#include "proto/abi/spec.h"

namespace nvshim::broker {

enum class PolicySet {
  kTable,    // none: what the table does not withhold passes
  kDefault,  // the built-in files with the capabilities that are on by default
  kShadow,   // the same, tried out: what it denies passes
  kSparse,   // the built-in files, and every third control and class denied besides, but none that makes a
             // client
};
inline constexpr PolicySet kPolicySets[] = {PolicySet::kTable, PolicySet::kDefault, PolicySet::kShadow,
                                            PolicySet::kSparse};
inline constexpr const char* kPolicySetNames[] = {"table", "default", "shadow", "sparse"};

Verdicts VerdictsOf(PolicySet set, const abi::Table& table);

}  // namespace nvshim::broker

#endif  // TESTING_PROPERTY_POLICY_SETS_H_
