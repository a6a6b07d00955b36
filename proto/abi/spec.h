// The ABI tables as constexpr arrays: which ioctls, controls, classes and UVM calls exist for one driver
// version, and how their parameters are laid out. Generated from proto/abi/<version>.textproto;
// proto/abi.proto documents each field. Shared by shim and broker: plain data, no code beyond the look-up, no
// allocation.
#ifndef PROTO_ABI_SPEC_H_
#define PROTO_ABI_SPEC_H_

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <string_view>

#include "proto/abi/slots.h"

namespace nvshim::abi {

enum class Shape : uint8_t { kOpaque, kArray, kControl, kAlloc };
enum class Direction : uint8_t { kInOut, kIn, kOut, kNull };
enum class FdUse : uint8_t { kFile, kMapping, kCookie, kIgnored };

// What the driver copies of an embedded buffer unless a spec says less (rmapi param copy).
inline constexpr uint32_t kEmbeddedSizeMax = 1u << 20;

inline constexpr uint16_t kNone = 0xffff;  // "no such field" where an offset is expected

struct Pointer {
  uint16_t offset;        // of the 8-byte pointer inside the parameter struct
  uint16_t count_offset;  // of the 4-byte count, or kNone: the count is 1
  uint32_t element_size;  // bytes per count
  uint32_t size_max;      // the most the driver takes
  Direction direction;
};

struct FdField {
  uint16_t offset;  // of the 4-byte number
  FdUse use;
};

template <typename T>
struct List {  // a constexpr array somewhere in the generated file
  const T* data = nullptr;
  size_t size = 0;
  constexpr const T* begin() const { return data; }
  constexpr const T* end() const { return data + size; }
};

struct Spec {
  uint32_t number;
  uint32_t size;      // bytes of the parameter struct; 0 = no parameters
  uint32_t size_max;  // as `size`; larger where the caller chooses, between the two
  bool withheld;      // layout known, but guests do not get it
  Shape shape;
  bool may_block;
  bool params_optional;    // class: a NULL pAllocParms is legal
  uint16_t status_offset;  // of the NV_STATUS, or kNone
  List<Pointer> pointers;
  List<FdField> fds;
  List<uint16_t> clients;  // offsets of RM client handles; of an escape the first is the issuing client
  List<uint16_t> objects;  // offsets of object handles that may be the client's own number; never written
  uint16_t share_policy_offset;  // of the RS_SHARE_POLICY, or kNone; never written
  std::string_view name;
};

// Some of the specs in an array, by index. Versions share the specs that are equal in them; pointers to them
// would have to be relocated in every process that the shim is loaded into. The slots hold the same indices,
// each at the first free slot from SlotOf its number on.
struct SpecList {
  struct Iterator {
    const Spec* specs;
    const uint16_t* index;
    const Spec& operator*() const { return specs[*index]; }
    Iterator& operator++() { return ++index, *this; }
    bool operator==(const Iterator&) const = default;
  };

  const Spec* specs = nullptr;
  const uint16_t* indices = nullptr;
  size_t size = 0;
  const uint16_t* slots = nullptr;
  uint32_t slot_bits = 0;  // there are 2^slot_bits; 0 of an empty list
  const Spec& operator[](size_t i) const { return specs[indices[i]]; }
  Iterator begin() const { return {specs, indices}; }
  Iterator end() const { return {specs, indices + size}; }
};

// One driver version. The lists are sorted by number.
struct Table {
  std::string_view driver_version;
  SpecList escapes;        // by _IOC_NR
  SpecList controls;       // by cmd of NVOS54
  SpecList classes;        // by hClass
  SpecList uvm;            // by request
  const Spec* gss_legacy;  // of controls of that range without a spec of their own; or null
};

// The spec of `number`, or null. An escape may have two specs of different size (NV_ESC_RM_ALLOC): `size`
// picks one; 0 takes the first.
const Spec* Find(const SpecList& list, uint32_t number, uint32_t size = 0);

// The spec of the control `cmd`, its own or that of its range; or null.
const Spec* FindControl(const Table& table, uint32_t cmd);

// The table of `driver_version` ("535.261.03"), or null when no table is built in.
const Table* FindTable(std::string_view driver_version);

// All built-in tables, oldest version first.
List<const Table*> Tables();

// The table to serve a driver of a version that may have none of its own: releases of one branch (the number
// before the first dot) differ in few places, branches in many.
struct Choice {
  const Table* table;  // null: no table of this branch is built in, or it is no version at all
  bool exact;          // the table is of exactly this version
  // Of whatever branch, the nearest tables below (or at) and above the version; null where there is none.
  const Table* below;
  const Table* above;
};

// Exactly `driver_version` ("580.100.01"), else the nearest older release of its branch, else the nearest
// newer.
Choice ChooseTable(std::string_view driver_version);

// ---- Numbers that both sides take apart themselves ----

// Linux _IOC of the escapes: type 'F', number in the low byte, size in bits 16..29 (nv-ioctl-numbers.h).
inline constexpr uint32_t kEscapeType = 'F';
constexpr uint32_t IocType(uint32_t command) { return (command >> 8) & 0xff; }
constexpr uint32_t IocNumber(uint32_t command) { return command & 0xff; }
constexpr uint32_t IocSize(uint32_t command) { return (command >> 16) & 0x3fff; }
constexpr bool IsEscape(uint32_t command, uint32_t number) {
  return IocType(command) == kEscapeType && IocNumber(command) == number;
}
// Both directions (_IOWR), as all escapes.
constexpr uint32_t EscapeCommand(uint32_t number, uint32_t size) {
  return 3u << 30 | size << 16 | kEscapeType << 8 | number;
}

// The GSS-legacy range of controls (rmapi_gss_legacy_control.c): bit 15. With bit 14 as well they are root's.
constexpr bool IsGssLegacy(uint32_t cmd) { return (cmd & 0xc000) == 0x8000; }

// NVOS54_PARAMETERS (nvos.h), the struct of NV_ESC_RM_CONTROL; unchanged from 535 to 595.
namespace nvos54 {
inline constexpr uint16_t kClient = 0, kObject = 4, kCmd = 8, kFlags = 12, kParams = 16, kParamsSize = 24,
                          kStatus = 28;
inline constexpr uint32_t kSize = 32;
}  // namespace nvos54

// NVOS02_PARAMETERS with the fd behind it (nv_ioctl_nvos02_parameters_with_fd), the struct of
// NV_ESC_RM_ALLOC_MEMORY.
inline constexpr uint32_t kAllocMemoryNumber = 0x27;
namespace nvos02 {
inline constexpr uint16_t kRoot = 0, kObjectParent = 4, kObjectNew = 8, kClass = 12, kFlags = 16,
                          kMemory = 24, kLimit = 32, kStatus = 40, kFd = 48;
inline constexpr uint32_t kSize = 56;
}  // namespace nvos02
inline constexpr uint32_t kRegisterFdNumber = 0xc9;             // NV_ESC_REGISTER_FD (nv-ioctl-numbers.h)
inline constexpr uint32_t kAllocOsEventNumber = 0xce;           // NV_ESC_ALLOC_OS_EVENT
inline constexpr uint32_t kCheckVersionStrNumber = 0xd2;        // NV_ESC_CHECK_VERSION_STR
inline constexpr uint32_t kClassOsDescriptor = 0x71;            // NV01_MEMORY_SYSTEM_OS_DESCRIPTOR (cl0071.h)
inline constexpr uint32_t kNvos02AllocUserReadOnly = 1u << 21;  // NVOS02_FLAGS_ALLOC_USER_READ_ONLY (nvos.h)

// RS_SHARE_POLICY (rs_access.h): who else may duplicate what a client has, or do other things with it. The
// types are kinds of company; only for one of them is there a target, a client.
namespace share_policy {
inline constexpr uint16_t kTarget = 0, kType = 8, kAction = 10;  // the last two of 16 and 8 bits
inline constexpr uint32_t kSize = 12;
inline constexpr uint16_t kTypeNone = 0, kTypeClient = 3, kTypePid = 4, kTypeCount = 8;  // RS_SHARE_TYPE_*
inline constexpr uint8_t kActionRequire = 2;  // RS_SHARE_ACTION_FLAG_REQUIRE: one more condition
}  // namespace share_policy

// NVOS00_PARAMETERS, the struct of NV_ESC_RM_FREE.
inline constexpr uint32_t kFreeNumber = 0x29;
namespace nvos00 {
inline constexpr uint16_t kRoot = 0, kObjectParent = 4, kObjectOld = 8, kStatus = 12;
inline constexpr uint32_t kSize = 16;
}  // namespace nvos00

// NVOS33_PARAMETERS with the fd behind it (nv_ioctl_nvos33_parameters_with_fd), the struct of
// NV_ESC_RM_MAP_MEMORY.
namespace nvos33 {
inline constexpr uint16_t kClient = 0, kDevice = 4, kMemory = 8, kStatus = 40, kFd = 48;
}

// NVOS21_PARAMETERS and NVOS64_PARAMETERS (nvos.h), the two structs of NV_ESC_RM_ALLOC. The first 24 bytes
// agree.
namespace nvos21 {
inline constexpr uint16_t kRoot = 0, kObjectParent = 4, kObjectNew = 8, kClass = 12, kAllocParms = 16,
                          kParamsSize = 24, kStatus = 28;
inline constexpr uint32_t kSize = 32;
}  // namespace nvos21
namespace nvos64 {
inline constexpr uint16_t kRoot = 0, kObjectParent = 4, kObjectNew = 8, kClass = 12, kAllocParms = 16,
                          kRightsRequested = 24, kParamsSize = 32, kFlags = 36, kStatus = 40;
inline constexpr uint32_t kSize = 48;
}  // namespace nvos64

}  // namespace nvshim::abi

#endif  // PROTO_ABI_SPEC_H_
