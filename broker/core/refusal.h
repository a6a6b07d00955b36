// A request turned down: with the errno or the NV_STATUS that the real driver gives in the same place, and a
// reason that is counted. What is refused never reaches the driver.
#ifndef BROKER_CORE_REFUSAL_H_
#define BROKER_CORE_REFUSAL_H_

#include <cerrno>
#include <cstddef>
#include <cstdint>

namespace nvshim::broker {

// Values of nvstatuscodes.h that the core itself answers.
inline constexpr uint32_t NV_OK = 0x00;
inline constexpr uint32_t NV_ERR_INSERT_DUPLICATE_NAME = 0x19;
inline constexpr uint32_t NV_ERR_INSUFFICIENT_RESOURCES = 0x1a;
inline constexpr uint32_t NV_ERR_INVALID_ARGUMENT = 0x1f;
inline constexpr uint32_t NV_ERR_INVALID_CLASS = 0x22;
inline constexpr uint32_t NV_ERR_INVALID_CLIENT = 0x23;
inline constexpr uint32_t NV_ERR_INVALID_PARAMETER = 0x3b;
inline constexpr uint32_t NV_ERR_NO_MEMORY = 0x51;
inline constexpr uint32_t NV_ERR_NOT_SUPPORTED = 0x56;
inline constexpr uint32_t NV_ERR_OBJECT_NOT_FOUND = 0x57;

enum class Reason : uint8_t {
  kUnknownEscape,
  kUnknownUvmCall,
  kUnknownControl,
  kUnknownClass,
  kDeniedByPolicy,    // known, and the policy keeps it from guests
  kUnknownFunction,   // NV_ESC_RM_VID_HEAP_CONTROL function that is not served
  kBadSize,           // parameter size differs from the driver's
  kBadSegments,       // buffers that no pointer of the spec explains
  kSerializedParams,  // FINN wire format, fed unread to the kernel by the driver
  kUnknownDevice,     // a GPU minor that this guest does not see
  kUnknownFile,       // a file that this process does not hold
  kUnknownClient,     // a client handle that is not this guest's, or not this file's
  kOverLimit,         // a bound of limits.h
  kOverQuota,         // video memory beyond what this guest may have
  kOtherVersion,      // by the driver: the guest's libraries are of another version than it is
  kCount,
};

inline constexpr const char* kReasonNames[] = {
    "unknown_escape",   "unknown_uvm_call", "unknown_control", "unknown_class",     "denied_by_policy",
    "unknown_function", "bad_size",         "bad_segments",    "serialized_params", "unknown_device",
    "unknown_file",     "unknown_client",   "over_limit",      "over_quota",        "other_version",
};
static_assert(sizeof(kReasonNames) / sizeof(kReasonNames[0]) == static_cast<size_t>(Reason::kCount));

struct Refusal {
  Reason reason;
  int error;        // errno the ioctl fails with; 0: it returns 0 and `status` tells
  uint32_t status;  // NV_STATUS, when error is 0
  uint32_t number;  // the escape, control, class or handle that was refused; for the log

  static Refusal Errno(Reason reason, int error, uint32_t number) { return {reason, error, 0, number}; }
  static Refusal Status(Reason reason, uint32_t status, uint32_t number) {
    return {reason, 0, status, number};
  }
};

}  // namespace nvshim::broker

#endif  // BROKER_CORE_REFUSAL_H_
