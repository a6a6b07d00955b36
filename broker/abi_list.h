// What `gpu-broker abi list` prints: the driver versions that the built-in ABI tables know, with the number
// of calls in each.
#ifndef BROKER_ABI_LIST_H_
#define BROKER_ABI_LIST_H_

#include <string>

namespace nvshim::broker {

// A table to read, or an array of objects; both end with a newline. Oldest version first.
std::string AbiListText();
std::string AbiListJson();

}  // namespace nvshim::broker

#endif  // BROKER_ABI_LIST_H_
