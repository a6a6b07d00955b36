// Handles and files of a checked call, from the guest's numbers to the driver's and back. Towards the driver
// every client handle is looked up in the guest's own table; back, every field that the driver has no
// business writing (pointers, fds, client and object handles) gets the guest's original bytes. Also records
// in the handle table what a successful call made or freed. Pure.
#ifndef BROKER_CORE_TRANSLATE_H_
#define BROKER_CORE_TRANSLATE_H_

#include <optional>
#include <vector>

#include "broker/core/file_table.h"
#include "broker/core/handle_table.h"
#include "broker/core/refusal.h"
#include "broker/core/request_check.h"

namespace nvshim::broker {

// Replaces the client handles of `call`, issued on `file`, by the driver's. `wanted_client` receives the
// client number that a call making a client asks for. Refuses what names a client that is not there.
std::optional<Refusal> ToDriver(const HandleTable& handles, const File& file, const CheckedCall& checked,
                                DriverCall& call, uint32_t* wanted_client);

// Whether the client handles of `call`, translated a while ago, still stand for what the guest named in
// `original`: a client may have been freed meanwhile, and its real number may be anybody's.
bool IsCurrent(const HandleTable& handles, const CheckedCall& checked, const std::vector<uint8_t>& original,
               const DriverCall& call);

// Puts back the guest's bytes: `original` is the buffer as the guest sent it, same segments. `succeeded` as
// below: a client that was not made leaves no number behind.
void ToGuest(const CheckedCall& checked, const std::vector<uint8_t>& original, bool succeeded,
             DriverCall& call);

// True when the driver said NV_OK: errno 0 and, where the struct has one, status 0.
bool Succeeded(const CheckedCall& checked, int error, const DriverCall& call);

// Whether the call makes a client (NV01_ROOT and its two variants), or another object.
bool MakesClient(const CheckedCall& checked);
bool MakesObject(const CheckedCall& checked, const DriverCall& call);

// What is known of a successful call beyond its bytes.
struct Origin {
  FileId file;
  uint32_t pid;            // what the process calls itself; 0 when it has not said
  ClientHandle client;     // the number chosen for a client that the call made
  ObjectCharges* charges;  // taken for the call; what it made takes them over
};

// After a successful call: what it made or freed. `original` as above; the handle fields of `call` are the
// driver's still. The number of a new client is written into `call`.
void Record(HandleTable& handles, const CheckedCall& checked, const std::vector<uint8_t>& original,
            Origin origin, DriverCall& call);

}  // namespace nvshim::broker

#endif  // BROKER_CORE_TRANSLATE_H_
