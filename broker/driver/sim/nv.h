// NVIDIA's numbers that the simulated driver names: statuses, classes and the escapes of /dev/nvidiactl and
// /dev/nvidia<N>, with NVIDIA's identifiers. Values only; unchanged from driver 535 to 595 unless a line says
// otherwise.
#ifndef BROKER_DRIVER_SIM_NV_H_
#define BROKER_DRIVER_SIM_NV_H_

#include <cstdint>

namespace nvshim::broker::sim {

using NvStatus = uint32_t;

inline constexpr NvStatus NV_OK = 0x00;
inline constexpr NvStatus NV_ERR_ILLEGAL_ACTION = 0x16;
inline constexpr NvStatus NV_ERR_INSERT_DUPLICATE_NAME = 0x19;
inline constexpr NvStatus NV_ERR_INSUFFICIENT_RESOURCES = 0x1a;
inline constexpr NvStatus NV_ERR_INSUFFICIENT_PERMISSIONS = 0x1b;
inline constexpr NvStatus NV_ERR_INVALID_ADDRESS = 0x1e;
inline constexpr NvStatus NV_ERR_INVALID_ARGUMENT = 0x1f;
inline constexpr NvStatus NV_ERR_INVALID_CLASS = 0x22;
inline constexpr NvStatus NV_ERR_INVALID_CLIENT = 0x23;
inline constexpr NvStatus NV_ERR_INVALID_EVENT = 0x28;
inline constexpr NvStatus NV_ERR_INVALID_LIMIT = 0x2e;
inline constexpr NvStatus NV_ERR_INVALID_OBJECT = 0x31;
inline constexpr NvStatus NV_ERR_INVALID_OBJECT_PARENT = 0x36;
inline constexpr NvStatus NV_ERR_INVALID_OFFSET = 0x37;
inline constexpr NvStatus NV_ERR_INVALID_PARAMETER = 0x3b;
inline constexpr NvStatus NV_ERR_INVALID_STATE = 0x40;
inline constexpr NvStatus NV_ERR_NO_MEMORY = 0x51;
inline constexpr NvStatus NV_ERR_NOT_SUPPORTED = 0x56;
inline constexpr NvStatus NV_ERR_OBJECT_NOT_FOUND = 0x57;
inline constexpr NvStatus NV_ERR_OUT_OF_RANGE = 0x5b;
inline constexpr NvStatus NV_ERR_STATE_IN_USE = 0x63;
inline constexpr NvStatus NV_ERR_UVM_ADDRESS_IN_USE = 0x68;
inline constexpr NvStatus NV_ERR_GPU_UUID_NOT_FOUND = 0x12;
inline constexpr NvStatus NV_WARN_NOTHING_TO_DO = 0x00010006;

inline constexpr uint32_t NV01_ROOT = 0x0000;
inline constexpr uint32_t NV01_ROOT_NON_PRIV = 0x0001;
inline constexpr uint32_t NV01_ROOT_CLIENT = 0x0041;
inline constexpr uint32_t NV01_EVENT_KERNEL_CALLBACK = 0x0078;
inline constexpr uint32_t NV01_EVENT_OS_EVENT = 0x0079;
inline constexpr uint32_t NV01_MEMORY_SYSTEM = 0x003e;
inline constexpr uint32_t NV01_MEMORY_LOCAL_USER = 0x0040;
inline constexpr uint32_t NV01_MEMORY_SYSTEM_OS_DESCRIPTOR = 0x0071;
inline constexpr uint32_t NV01_MEMORY_VIRTUAL = 0x0070;
inline constexpr uint32_t NV50_MEMORY_VIRTUAL = 0x50a0;
inline constexpr uint32_t NV01_DEVICE_0 = 0x0080;
inline constexpr uint32_t NV20_SUBDEVICE_0 = 0x2080;

// By _IOC_NR.
inline constexpr uint32_t NV_ESC_RM_ALLOC_MEMORY = 0x27;
inline constexpr uint32_t NV_ESC_RM_FREE = 0x29;
inline constexpr uint32_t NV_ESC_RM_CONTROL = 0x2a;
inline constexpr uint32_t NV_ESC_RM_ALLOC = 0x2b;
inline constexpr uint32_t NV_ESC_RM_DUP_OBJECT = 0x34;
inline constexpr uint32_t NV_ESC_RM_SHARE = 0x35;
inline constexpr uint32_t NV_ESC_RM_VID_HEAP_CONTROL = 0x4a;
inline constexpr uint32_t NV_ESC_RM_MAP_MEMORY = 0x4e;
inline constexpr uint32_t NV_ESC_RM_UNMAP_MEMORY = 0x4f;
inline constexpr uint32_t NV_ESC_RM_MAP_MEMORY_DMA = 0x57;
inline constexpr uint32_t NV_ESC_RM_UNMAP_MEMORY_DMA = 0x58;
inline constexpr uint32_t NV_ESC_RM_UPDATE_DEVICE_MAPPING_INFO = 0x5e;
inline constexpr uint32_t NV_ESC_CARD_INFO = 200;
inline constexpr uint32_t NV_ESC_REGISTER_FD = 201;
inline constexpr uint32_t NV_ESC_ALLOC_OS_EVENT = 206;
inline constexpr uint32_t NV_ESC_FREE_OS_EVENT = 207;
inline constexpr uint32_t NV_ESC_CHECK_VERSION_STR = 210;
inline constexpr uint32_t NV_ESC_ATTACH_GPUS_TO_FD = 212;
inline constexpr uint32_t NV_ESC_SYS_PARAMS = 214;
inline constexpr uint32_t NV_ESC_NUMA_INFO = 215;
inline constexpr uint32_t NV_ESC_WAIT_OPEN_COMPLETE = 218;  // from 550 on

// NVOS32 functions and attributes (NV_ESC_RM_VID_HEAP_CONTROL).
inline constexpr uint32_t NVOS32_FUNCTION_ALLOC_SIZE = 2;
inline constexpr uint32_t NVOS32_FUNCTION_FREE = 3;
inline constexpr uint32_t NVOS32_FUNCTION_INFO = 5;
inline constexpr uint32_t NVOS32_ALLOC_FLAGS_FIXED_ADDRESS_ALLOCATE = 0x10;
inline constexpr uint32_t NVOS32_ALLOC_FLAGS_VIRTUAL = 0x80000;
constexpr uint32_t NvOs32AttrLocation(uint32_t attr) { return (attr >> 25) & 3; }
inline constexpr uint32_t NVOS32_ATTR_LOCATION_VIDMEM = 0;

// What event objects listen to (cl2080_notification.h), and which engine a channel runs on: values of the
// same engines.
inline constexpr uint32_t NV2080_NOTIFIERS_GR0 = 12;
inline constexpr uint32_t NV2080_NOTIFIERS_CE0 = 23;
inline constexpr uint32_t NV2080_NOTIFIERS_FIFO_EVENT_MTHD = 35;
inline constexpr uint32_t NV2080_ENGINE_TYPE_COPY0 = 9, NV2080_ENGINE_TYPE_COPY9 = 18;
// NV0005_ALLOC_PARAMETERS.notifyIndex
inline constexpr uint32_t NV01_EVENT_NONSTALL_INTR = 0x08000000;
constexpr uint32_t Nv0005NotifyIndexIndex(uint32_t notify_index) { return notify_index & 0xffff; }

// NVOS46 (NV_ESC_RM_MAP_MEMORY_DMA)
inline constexpr uint32_t NVOS46_FLAGS_DMA_OFFSET_FIXED = 1 << 15;

// NV0000_CTRL_CMD_CLIENT_GET_ADDR_SPACE_TYPE, and NV0041_CTRL_CMD_GET_SURFACE_INFO
inline constexpr uint32_t kAddrSpaceSysmem = 1;
inline constexpr uint32_t kAddrSpaceVidmem = 2;
inline constexpr uint32_t kAddrSpaceRegmem = 3;

}  // namespace nvshim::broker::sim

#endif  // BROKER_DRIVER_SIM_NV_H_
