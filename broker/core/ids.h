// Names of things, as types that do not mix. All are minted by the broker; what a guest sends is looked up,
// never trusted to be one of these.
#ifndef BROKER_CORE_IDS_H_
#define BROKER_CORE_IDS_H_

#include <cstdint>

namespace nvshim::broker {

enum class GuestId : uint32_t {};
enum class ProcessId : uint32_t {};          // unique within its guest, never 0
enum class FileId : uint32_t { kNone = 0 };  // index and generation; what frames call file_id
enum class ClientHandle : uint32_t {};       // virtual: what the guest sees
enum class RealClientHandle : uint32_t {};   // what the driver sees
enum class ObjectHandle : uint32_t {};       // the same on both sides

// One call in flight: a lane has at most one.
struct CallToken {
  GuestId guest;
  ProcessId process;
  uint32_t lane;
};

}  // namespace nvshim::broker

#endif  // BROKER_CORE_IDS_H_
