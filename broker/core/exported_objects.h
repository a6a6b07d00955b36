// Objects inside of files (proto/abi/exported_objects.h): what a guest puts there, the file keeps, with the
// charge for its memory, until the last descriptor of it is closed; what a guest takes out becomes an object
// of its client. Only a process that holds a file can name it, so nothing passes from guest to guest. Pure.
#ifndef BROKER_CORE_EXPORTED_OBJECTS_H_
#define BROKER_CORE_EXPORTED_OBJECTS_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "broker/core/file_table.h"
#include "broker/core/handle_table.h"
#include "broker/core/refusal.h"
#include "broker/core/request_check.h"

namespace nvshim::broker {

// Whether `checked` is one of the five controls. It names a file then.
bool IsAboutExports(const CheckedCall& checked);

// What is wrong with such a call, which names `file`; after ToDriver. `original` is the guest's buffer, same
// segments. An import of places that are empty is changed to one that asks for no handles there: were it to
// fail, the driver would free what has these handles already.
std::optional<Refusal> CheckExports(const CheckedCall& checked, const std::vector<uint8_t>& original,
                                    const File& file, DriverCall& call);

// How many objects such a call makes at the most, once it is checked.
uint32_t ObjectsMoved(const CheckedCall& checked, const std::vector<uint8_t>& original,
                      const DriverCall& call);

// After it has succeeded: what went into `file`, or came out of it. `objects` is the charge for ObjectsMoved;
// what is not needed stays in it.
void RecordExports(HandleTable& handles, const CheckedCall& checked, const std::vector<uint8_t>& original,
                   File& file, const DriverCall& call, Charge& objects);

// Puts back what CheckExports changed.
void RestoreExports(const CheckedCall& checked, const std::vector<uint8_t>& original, const File& file,
                    DriverCall& call);

}  // namespace nvshim::broker

#endif  // BROKER_CORE_EXPORTED_OBJECTS_H_
