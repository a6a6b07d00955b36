// The few RM calls that the core takes apart by name, because they make, free or carry what it keeps account
// of. Numbers of nv_escape.h and the class headers, offsets of nvos.h; equal in all driver versions that
// have a table (rm_calls_test). Everything else is a matter of the ABI table.
#ifndef BROKER_CORE_RM_CALLS_H_
#define BROKER_CORE_RM_CALLS_H_

#include <cstdint>

#include "proto/abi/spec.h"

namespace nvshim::broker {

// Escapes, by _IOC_NR.
inline constexpr uint32_t NV_ESC_RM_ALLOC_MEMORY = abi::kAllocMemoryNumber;
inline constexpr uint32_t NV_ESC_RM_FREE = abi::kFreeNumber;
inline constexpr uint32_t NV_ESC_RM_ALLOC = 0x2b;
inline constexpr uint32_t NV_ESC_RM_DUP_OBJECT = 0x34;
inline constexpr uint32_t NV_ESC_RM_VID_HEAP_CONTROL = 0x4a;
inline constexpr uint32_t NV_ESC_REGISTER_FD = abi::kRegisterFdNumber;

// Of /dev/nvidia-uvm: from then on the guest may map the file (uvm_linux_ioctl.h).
inline constexpr uint32_t UVM_INITIALIZE = 0x30000001;

// Where handles and classes stand in the structs of the RM escapes above.
inline constexpr uint32_t kParentOffset = 4;                     // of all of them
inline constexpr uint32_t kObjectOffset = 8;                     // hObjectNew, hObjectOld, hObject
inline constexpr uint32_t kClassOffset = 12;                     // NVOS02, NVOS21, NVOS64
inline constexpr uint32_t kMemoryOffset = abi::nvos02::kMemory;  // pMemory of NVOS02
inline constexpr uint32_t kMemoryFdOffset = abi::nvos02::kFd;    // fd of nv_ioctl_nvos02_parameters_with_fd
inline constexpr uint32_t kFunctionOffset = 8;                   // NVOS32
inline constexpr uint32_t kMemoryLimitOffset = abi::nvos02::kLimit;  // size - 1
inline constexpr uint32_t kHeapObjectOffset = 44;                    // hMemory of NVOS32 AllocSize and Free
inline constexpr uint32_t kHeapFlagsOffset = 52, kHeapAttrOffset = 56, kHeapSizeOffset = 88;  // AllocSize
inline constexpr uint32_t kHeapTotalOffset = 24, kHeapFreeOffset = 32;                        // NVOS32
inline constexpr uint32_t kHeapLargestOffset = 56;     // data.Info.size: of the largest free block
inline constexpr uint32_t kAllocationSizeOffset = 64;  // size of NV_MEMORY_ALLOCATION_PARAMS
inline constexpr uint32_t kSourceClientOffset = 12, kSourceObjectOffset = 16;  // NVOS55

// Functions of NVOS32 that are served; the others carry pointers of their own.
inline constexpr uint32_t NVOS32_FUNCTION_ALLOC_SIZE = 2;
inline constexpr uint32_t NVOS32_FUNCTION_FREE = 3;
inline constexpr uint32_t NVOS32_FUNCTION_INFO = 5;

// Where ALLOC_SIZE is to take memory from: flags say virtual, or attr says where.
inline constexpr uint32_t NVOS32_ALLOC_FLAGS_VIRTUAL = 0x00080000;
inline constexpr uint32_t NVOS32_ATTR_LOCATION_MASK = 3u << 25;
inline constexpr uint32_t NVOS32_ATTR_LOCATION_VIDMEM = 0;

// Controls whose answers speak of the whole machine, and where their lists are (ctrl2080fb.h, ctrl2080gpu.h).
inline constexpr uint32_t NV2080_CTRL_CMD_GPU_GET_PIDS = 0x2080018d;
inline constexpr uint32_t NV2080_CTRL_CMD_GPU_GET_PID_INFO = 0x2080018e;
inline constexpr uint32_t NV2080_CTRL_CMD_FB_GET_INFO = 0x20801301;
inline constexpr uint32_t NV2080_CTRL_CMD_FB_GET_INFO_V2 = 0x20801303;
inline constexpr uint32_t kFbInfoCountOffset = 0;    // of both
inline constexpr uint32_t kFbInfoPointerOffset = 8;  // fbInfoList of FB_GET_INFO
inline constexpr uint32_t kFbInfoListOffset = 4;     // fbInfoList of FB_GET_INFO_V2

// NV2080_CTRL_GPU_GET_PIDS_PARAMS: who has objects of a class?
namespace get_pids {
inline constexpr uint32_t kIdType = 0, kId = 4, kCount = 8, kTable = 12, kTableSizeMax = 950;
inline constexpr uint32_t kIdTypeClass = 0;  // the other types are of virtual GPUs
}  // namespace get_pids

// NV2080_CTRL_GPU_GET_PID_INFO_PARAMS: how much memory have these processes?
namespace pid_info {
inline constexpr uint32_t kCount = 0, kList = 8, kListSizeMax = 200;
// NV2080_CTRL_GPU_PID_INFO, an entry of the list
inline constexpr uint32_t kSize = 72, kPid = 0, kIndex = 4, kResult = 8, kPrivate = 16, kSharedOwned = 24,
                          kSharedDuplicate = 32, kComputeInstance = 64, kGpuInstance = 68;
inline constexpr uint32_t kIndexVideoMemoryUsage = 0;
inline constexpr uint32_t kNoPartition = 0xffffffff;  // PARTITIONID_INVALID: there is no MIG
}  // namespace pid_info

// Classes that are clients, and classes whose objects an escape makes without naming the class.
inline constexpr uint32_t NV01_ROOT = 0x0;
inline constexpr uint32_t NV01_ROOT_NON_PRIV = 0x1;
inline constexpr uint32_t NV01_ROOT_CLIENT = 0x41;
inline constexpr uint32_t NV01_MEMORY_SYSTEM = 0x3e;
inline constexpr uint32_t NV01_MEMORY_LOCAL_USER = 0x40;
inline constexpr uint32_t NV01_MEMORY_SYSTEM_OS_DESCRIPTOR = abi::kClassOsDescriptor;

// The classes that are channels, of every generation: NV50_CHANNEL_GPFIFO 0x506f to
// BLACKWELL_CHANNEL_GPFIFO_B 0xca6f.
constexpr bool IsChannelClass(uint32_t rm_class) {
  return rm_class >= 0x506f && rm_class <= 0xffff && (rm_class & 0xff) == 0x6f;
}

// Handles of objects that RM was asked to choose (RS_UNIQUE_HANDLE_BASE and _RANGE of rs_client.h). A client
// under such a number would meet an object of the same number, which the handle table takes for the client.
constexpr bool IsNumberedByDriver(uint32_t handle) { return handle - 0xcaf00000 < 0x80000; }

}  // namespace nvshim::broker

#endif  // BROKER_CORE_RM_CALLS_H_
