// The controls that put RM objects into a file and take duplicates of them out of it: with the file, which
// can be passed over a socket, the objects reach another process (ctrl0000unix.h). One object, or a range of
// places in the file:
//
//     place in file    0     1     2     3 ...     maxObjects - 1
//     objects[]              [0]   [1]             index = 1, numObjects = 2
//
// Numbers and layouts are the same in all driver versions that have a table (parity_test).
#ifndef PROTO_ABI_EXPORTED_OBJECTS_H_
#define PROTO_ABI_EXPORTED_OBJECTS_H_

#include <cstdint>

namespace nvshim::abi {

inline constexpr uint32_t kExportObjectToFd = 0x3d05;     // NV0000_CTRL_CMD_OS_UNIX_EXPORT_OBJECT_TO_FD
inline constexpr uint32_t kImportObjectFromFd = 0x3d06;   // ..._IMPORT_OBJECT_FROM_FD
inline constexpr uint32_t kGetExportObjectInfo = 0x3d08;  // ..._GET_EXPORT_OBJECT_INFO
inline constexpr uint32_t kExportObjectsToFd = 0x3d0b;    // ..._EXPORT_OBJECTS_TO_FD
inline constexpr uint32_t kImportObjectsFromFd = 0x3d0c;  // ..._IMPORT_OBJECTS_FROM_FD

inline constexpr uint32_t kExportControls[] = {kExportObjectToFd, kImportObjectFromFd, kGetExportObjectInfo,
                                               kExportObjectsToFd, kImportObjectsFromFd};

// NV0000_CTRL_OS_UNIX_EXPORT_OBJECT_TYPE_RM, of the calls about one object.
inline constexpr uint32_t kExportObjectTypeRm = 1;
// NV0000_OS_UNIX_EXPORT_OBJECT_FD_BUFFER_SIZE: what a file keeps for its makers, unread.
inline constexpr uint32_t kExportMetadataBytes = 64;

namespace export_object {  // NV0000_CTRL_OS_UNIX_EXPORT_OBJECT_TO_FD_PARAMS
inline constexpr uint16_t kType = 0, kDevice = 4, kObject = 12, kFd = 16, kFlags = 20;
}
namespace import_object {  // NV0000_CTRL_OS_UNIX_IMPORT_OBJECT_FROM_FD_PARAMS
inline constexpr uint16_t kFd = 0, kType = 4, kParent = 12, kObject = 16;
}
namespace export_objects {  // NV0000_CTRL_OS_UNIX_EXPORT_OBJECTS_TO_FD_PARAMS
inline constexpr uint16_t kFd = 0, kDevice = 4, kMaxObjects = 8, kMetadata = 10, kObjects = 76, kCount = 2124,
                          kIndex = 2126;
inline constexpr uint32_t kCountMax = 512;  // NV0000_CTRL_OS_UNIX_EXPORT_OBJECTS_TO_FD_MAX_OBJECTS
}  // namespace export_objects
namespace import_objects {  // NV0000_CTRL_OS_UNIX_IMPORT_OBJECTS_FROM_FD_PARAMS
inline constexpr uint16_t kFd = 0, kParent = 4, kObjects = 8, kTypes = 520, kCount = 648, kIndex = 650;
inline constexpr uint32_t kCountMax = 128;  // NV0000_CTRL_OS_UNIX_IMPORT_OBJECTS_TO_FD_MAX_OBJECTS
// NV0000_CTRL_CMD_OS_UNIX_IMPORT_OBJECT_TYPE_*, a byte for each object. None: that place was empty.
inline constexpr uint8_t kTypeNone = 0, kTypeVidmem = 1, kTypeSysmem = 2;
}  // namespace import_objects

}  // namespace nvshim::abi

#endif  // PROTO_ABI_EXPORTED_OBJECTS_H_
