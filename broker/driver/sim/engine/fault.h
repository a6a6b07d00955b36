// Why a channel stopped. A stopped channel executes nothing more: wrong data is worse than none.
#ifndef BROKER_DRIVER_SIM_ENGINE_FAULT_H_
#define BROKER_DRIVER_SIM_ENGINE_FAULT_H_

#include <cstdint>

namespace nvshim::broker::sim::engine {

enum class Fault : uint8_t {
  kNone,
  kBadAddress,     // a GPU virtual address that is not mapped
  kBadPushbuffer,  // a GPFIFO entry or a method header that means nothing
  kUnknownClass,   // a method for a class that is not simulated
  kUnsupported,    // a known method in a form that is not simulated
  kShaderLaunch,   // a program for the shader cores: not simulated
};

constexpr const char* FaultText(Fault fault) {
  switch (fault) {
    case Fault::kNone:
      return "none";
    case Fault::kBadAddress:
      return "an address that is not mapped";
    case Fault::kBadPushbuffer:
      return "a malformed pushbuffer";
    case Fault::kUnknownClass:
      return "a method of a class that is not simulated";
    case Fault::kUnsupported:
      return "a method in a form that is not simulated";
    case Fault::kShaderLaunch:
      return "a kernel launch: shader programs are not simulated";
  }
  return "unknown";
}

}  // namespace nvshim::broker::sim::engine

#endif  // BROKER_DRIVER_SIM_ENGINE_FAULT_H_
