// What must hold of every driver version, part by part. A law that is broken ends the program.
#ifndef TESTING_RM_CLIENT_LAWS_H_
#define TESTING_RM_CLIENT_LAWS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "testing/rm_client/session.h"

namespace nvshim::rm_client {

// What nvidia-smi and libcuda ask when they start: each answer has the layout of the version and agrees with
// the others. Prints what the machine is.
void CheckAnswers(const Session& session, const std::string& version);

// The classes that the GPU has.
std::vector<uint32_t> ClassList(const Session& session);
// The bytes of the GPU's UUID.
std::vector<uint8_t> Uuid(const Session& session);

// Memory is made in both ways, mapped, written, and read back through another mapping.
void CheckMemory(const Session& session);

// A channel copies what a program tells it to, between addresses that UVM and RM have mapped; when all is
// freed, nothing is found any more.
void CheckCopies(const Session& session);

}  // namespace nvshim::rm_client

#endif  // TESTING_RM_CLIENT_LAWS_H_
