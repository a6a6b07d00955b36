// What a guest can try with the fields of every call of a table: another guest's clients in client fields,
// files that are not its own in fd fields, lengths that are not true. One attempt is an honest request with
// one thing changed, and what has to become of it.
#ifndef TESTING_HOSTILE_ATTEMPTS_H_
#define TESTING_HOSTILE_ATTEMPTS_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "proto/abi/spec.h"
#include "testing/hostile/honest_request.h"

namespace nvshim::testing {

// What the intruder knows.
struct Knowledge {
  Belongings own;
  uint32_t own_real_client = 0;           // the driver's number of own.client; 0 = not known
  uint32_t other_files_client = 0;        // its own, made on another file
  std::vector<uint32_t> foreign_clients;  // numbers that name no client of its own
  std::vector<uint32_t> foreign_files;    // ids that name no file of its own
};

struct Attempt {
  Kind kind;
  const abi::Spec* spec;
  std::string field;  // "client@4"
  HonestRequest request;
  std::string harmless;  // why it may reach the driver; "" = it has to be refused, with
  int error = 0;         //   this errno, or
  uint32_t status = 0;   //   this NV_STATUS
};

// How calls that a guest does not get are refused, of each kind.
struct NotServed {
  int error;
  uint32_t status;
};
NotServed HowNotServed(Kind kind);

// All attempts on all lines of `table`, the honest requests themselves (field "-") included.
void ForEachAttempt(const abi::Table& table, const Knowledge& knowledge,
                    const std::function<void(const Attempt&)>& attempt);

// A call whose number is in no table, with parameters as long as `size_bytes`.
HonestRequest UnknownCall(const abi::Table& table, Kind kind, uint32_t number, uint32_t size_bytes,
                          const Belongings& own);

}  // namespace nvshim::testing

#endif  // TESTING_HOSTILE_ATTEMPTS_H_
