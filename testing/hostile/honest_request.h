// For each line of an ABI table the request of an honest guest: sizes as told, its own client in every client
// field, its own files in every fd field, one element behind every pointer. What a test changes in it is then
// the only thing that is wrong.
#ifndef TESTING_HOSTILE_HONEST_REQUEST_H_
#define TESTING_HOSTILE_HONEST_REQUEST_H_

#include <cstdint>
#include <vector>

#include "broker/core/event.h"
#include "broker/core/verdict.h"
#include "broker/driver/call.h"
#include "broker/driver/driver.h"
#include "proto/abi/spec.h"

namespace nvshim::testing {

using broker::Kind;
using broker::kKindNames;

// What the guest has.
struct Belongings {
  uint32_t client = 0;  // made on the ctl file
  uint32_t ctl = 0, gpu = 0, uvm = 0;
};

struct HonestRequest {
  broker::DeviceClass on = broker::DeviceClass::kCtl;  // the file it is for
  broker::DriverCall call;
  std::vector<broker::FileReferenceUntrusted> files;
  uint32_t segment = 0;  // where the fields of the line lie
  uint16_t status_offset = abi::kNone;

  void Add(uint32_t size_bytes, uint32_t parent, uint32_t pointer_offset);
  // Makes a segment longer or shorter; what is in it stays as far as it goes.
  void Resize(uint32_t segment, uint32_t size_bytes);
};

// A line of the table that `kind` names.
HonestRequest MakeHonestRequest(const abi::Table& table, Kind kind, const abi::Spec& spec,
                                const Belongings& own);

}  // namespace nvshim::testing

#endif  // TESTING_HOSTILE_HONEST_REQUEST_H_
