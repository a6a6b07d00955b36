// Fields of the driver's calls that name a client or a descriptor, in calls that no table has: what only the
// kernel or root may call, what is for virtual GPUs, what nobody was seen to use. From the open driver's
// headers; the offset is that of 580, or of the nearest version that has the call. A line that a table gains
// is tried as a part of that table instead.
#ifndef TESTING_HOSTILE_FIELDS_OUTSIDE_TABLES_DATA_H_
#define TESTING_HOSTILE_FIELDS_OUTSIDE_TABLES_DATA_H_

#include <cstdint>

#include "testing/hostile/honest_request.h"

namespace nvshim::testing {

struct FieldOutsideTables {
  Kind kind;
  uint32_t number;
  uint32_t offset;
  const char* what;
  const char* call;
  const char* field;
};

inline constexpr FieldOutsideTables kFieldsOutsideTables[] = {
    {Kind::kControl, 0xd03, 4, "client", "NV0000_CTRL_CMD_CLIENT_GET_ACCESS_RIGHTS", "hClient"},
    {Kind::kControl, 0x3d0a, 72, "fd", "NV0000_CTRL_CMD_OS_UNIX_CREATE_EXPORT_OBJECT_FD", "fd"},
    {Kind::kControl, 0x2080012b, 4, "client", "NV2080_CTRL_CMD_GPU_PROMOTE_CTX", "hClient"},
    {Kind::kControl, 0x2080012b, 12, "client", "NV2080_CTRL_CMD_GPU_PROMOTE_CTX", "hChanClient"},
    {Kind::kControl, 0x2080012d, 4, "client", "NV2080_CTRL_CMD_GPU_INITIALIZE_CTX", "hClient"},
    {Kind::kControl, 0x2080012d, 12, "client", "NV2080_CTRL_CMD_GPU_INITIALIZE_CTX", "hChanClient"},
    {Kind::kControl, 0x208001a6, 0, "client", "NV2080_CTRL_CMD_GPU_MIGRATABLE_OPS", "hClientTarget"},
    {Kind::kControl, 0x20801116, 0, "client", "NV2080_CTRL_CMD_FIFO_UPDATE_CHANNEL_INFO", "hClient"},
    {Kind::kControl, 0x20801205, 4, "client", "NV2080_CTRL_CMD_GR_CTXSW_ZCULL_MODE", "hShareClient"},
    {Kind::kControl, 0x20801209, 0, "client", "NV2080_CTRL_CMD_GR_CTXSW_PM_BIND", "hClient"},
    {Kind::kControl, 0x20802502, 0, "client", "NV2080_CTRL_CMD_DMA_INVALIDATE_TLB", "hClient"},
    {Kind::kControl, 0x208f0403, 4, "client", "NV208F_CTRL_CMD_FIFO_GET_CHANNEL_STATE", "hClient"},
    {Kind::kControl, 0x503c0106, 0, "client", "NV503C_CTRL_CMD_REGISTER_PID", "hClient"},
    {Kind::kControl, 0x50800101, 12, "client", "NV5080_CTRL_CMD_DEFERRED_API", "hClientVA"},
    {Kind::kControl, 0x50800101, 28, "client", "NV5080_CTRL_CMD_DEFERRED_API", "api_bundle.InitCtx.hClient"},
    {Kind::kControl, 0x50800101, 36, "client", "NV5080_CTRL_CMD_DEFERRED_API",
     "api_bundle.InitCtx.hChanClient"},
    {Kind::kControl, 0x50800101, 28, "client", "NV5080_CTRL_CMD_DEFERRED_API",
     "api_bundle.PromoteCtx.hClient"},
    {Kind::kControl, 0x50800101, 36, "client", "NV5080_CTRL_CMD_DEFERRED_API",
     "api_bundle.PromoteCtx.hChanClient"},
    {Kind::kControl, 0x50800101, 28, "client", "NV5080_CTRL_CMD_DEFERRED_API", "api_bundle.EvictCtx.hClient"},
    {Kind::kControl, 0x50800101, 36, "client", "NV5080_CTRL_CMD_DEFERRED_API",
     "api_bundle.EvictCtx.hChanClient"},
    {Kind::kControl, 0x50800101, 24, "client", "NV5080_CTRL_CMD_DEFERRED_API",
     "api_bundle.InvalidateTlb.hClient"},
    {Kind::kControl, 0x50800101, 28, "client", "NV5080_CTRL_CMD_DEFERRED_API",
     "api_bundle.FillPteMem.hwResource.hClient"},
    {Kind::kControl, 0x50800101, 24, "client", "NV5080_CTRL_CMD_DEFERRED_API",
     "api_bundle.ZcullCtxsw.hClient"},
    {Kind::kControl, 0x50800101, 24, "client", "NV5080_CTRL_CMD_DEFERRED_API", "api_bundle.PmCtxsw.hClient"},
    {Kind::kControl, 0x50800101, 28, "client", "NV5080_CTRL_CMD_DEFERRED_API",
     "api_bundle.PreemptionCtxsw.hClient"},
    {Kind::kControl, 0x50800103, 12, "client", "NV5080_CTRL_CMD_DEFERRED_API_V2", "hClientVA"},
    {Kind::kControl, 0x50800103, 28, "client", "NV5080_CTRL_CMD_DEFERRED_API_V2",
     "api_bundle.InitCtx.hClient"},
    {Kind::kControl, 0x50800103, 36, "client", "NV5080_CTRL_CMD_DEFERRED_API_V2",
     "api_bundle.InitCtx.hChanClient"},
    {Kind::kControl, 0x50800103, 28, "client", "NV5080_CTRL_CMD_DEFERRED_API_V2",
     "api_bundle.PromoteCtx.hClient"},
    {Kind::kControl, 0x50800103, 36, "client", "NV5080_CTRL_CMD_DEFERRED_API_V2",
     "api_bundle.PromoteCtx.hChanClient"},
    {Kind::kControl, 0x50800103, 28, "client", "NV5080_CTRL_CMD_DEFERRED_API_V2",
     "api_bundle.EvictCtx.hClient"},
    {Kind::kControl, 0x50800103, 36, "client", "NV5080_CTRL_CMD_DEFERRED_API_V2",
     "api_bundle.EvictCtx.hChanClient"},
    {Kind::kControl, 0x50800103, 24, "client", "NV5080_CTRL_CMD_DEFERRED_API_V2",
     "api_bundle.InvalidateTlb.hClient"},
    {Kind::kControl, 0x50800103, 28, "client", "NV5080_CTRL_CMD_DEFERRED_API_V2",
     "api_bundle.FillPteMem.hwResource.hClient"},
    {Kind::kControl, 0x50800103, 24, "client", "NV5080_CTRL_CMD_DEFERRED_API_V2",
     "api_bundle.ZcullCtxsw.hClient"},
    {Kind::kControl, 0x50800103, 24, "client", "NV5080_CTRL_CMD_DEFERRED_API_V2",
     "api_bundle.PmCtxsw.hClient"},
    {Kind::kControl, 0x50800103, 48, "client", "NV5080_CTRL_CMD_DEFERRED_API_V2",
     "api_bundle.DisableChannels.hClientList"},
    {Kind::kControl, 0x50800103, 28, "client", "NV5080_CTRL_CMD_DEFERRED_API_V2",
     "api_bundle.PreemptionCtxsw.hClient"},
    {Kind::kControl, 0x50800103, 24, "client", "NV5080_CTRL_CMD_DEFERRED_API_V2",
     "api_bundle.ChannelInfoUpdate.hClient"},
    {Kind::kControl, 0xa0840105, 0, "client", "NVA084_CTRL_CMD_KERNEL_HOST_VGPU_DEVICE_BIND_FECS_EVTBUF",
     "hEventBufferClient"},
    {Kind::kClass, 0xf, 0, "fd", "FABRIC_MANAGER_SESSION", "capDescriptor"},
    {Kind::kClass, 0xc574, 0, "client", "UVM_CHANNEL_RETAINER", "hClient"},
    {Kind::kClass, 0x81, 0, "client", "NV01_MEMORY_LIST_SYSTEM", "hClient"},
    {Kind::kClass, 0x81, 12, "client", "NV01_MEMORY_LIST_SYSTEM", "hHwResClient"},
    {Kind::kClass, 0x82, 0, "client", "NV01_MEMORY_LIST_FBMEM", "hClient"},
    {Kind::kClass, 0x82, 12, "client", "NV01_MEMORY_LIST_FBMEM", "hHwResClient"},
    {Kind::kClass, 0x83, 0, "client", "NV01_MEMORY_LIST_OBJECT", "hClient"},
    {Kind::kClass, 0x83, 12, "client", "NV01_MEMORY_LIST_OBJECT", "hHwResClient"},
    {Kind::kClass, 0xf3, 48, "client", "NV01_MEMORY_FLA", "hExportClient"},
    {Kind::kClass, 0xa084, 64, "client", "NVA084_KERNEL_HOST_VGPU_DEVICE", "hPluginClient"},
    {Kind::kClass, 0xc637, 0, "fd", "AMPERE_SMC_PARTITION_REF", "capDescriptor"},
    {Kind::kClass, 0xc638, 0, "fd", "AMPERE_SMC_EXEC_PARTITION_REF", "capDescriptor"},
    {Kind::kClass, 0xc639, 0, "fd", "AMPERE_SMC_CONFIG_SESSION", "capDescriptor"},
    {Kind::kClass, 0xc640, 0, "fd", "AMPERE_SMC_MONITOR_SESSION", "capDescriptor"},
    {Kind::kClass, 0x5, 0, "client", "NV01_EVENT", "hParentClient"},
    {Kind::kClass, 0x78, 0, "client", "NV01_EVENT_KERNEL_CALLBACK", "hParentClient"},
    {Kind::kClass, 0x7e, 0, "client", "NV01_EVENT_KERNEL_CALLBACK_EX", "hParentClient"},
    {Kind::kControl, 0xd08, 0, "fd", "NV0000_CTRL_CMD_CLIENT_SUBSCRIBE_TO_IMEX_CHANNEL", "devDescriptor"},
    {Kind::kControl, 0xe00101, 1040, "fd", "NV00E0_CTRL_CMD_EXPORT_MEM", "devDescriptor"},
    {Kind::kControl, 0x2080111a, 4, "client", "NV2080_CTRL_CMD_FIFO_DISABLE_CHANNELS_FOR_KEY_ROTATION",
     "hClientList"},
    {Kind::kControl, 0x20801123, 0, "client", "NV2080_CTRL_CMD_FIFO_GET_CHANNEL_GROUP_UNIQUE_ID_INFO",
     "hClient"},
    {Kind::kControl, 0x20801124, 0, "client", "NV2080_CTRL_CMD_FIFO_QUERY_CHANNEL_UNIQUE_ID", "hClients"},
    {Kind::kControl, 0x2080123a, 0, "client", "NV2080_CTRL_CMD_GR_CTXSW_SETUP_BIND", "hClient"},
    {Kind::kControl, 0x2080111c, 4, "client", "NV2080_CTRL_CMD_FIFO_ROTATE_KEYS", "hClientList"},
    {Kind::kEscape, 0x56, 0, "client", "NV_ESC_RM_ADD_VBLANK_CALLBACK", "hClient"},
    {Kind::kUvm, 0x38, 44, "fd", "UVM_TOOLS_INIT_EVENT_TRACKER", "uvmFd"},
    {Kind::kUvm, 0x4e, 40, "fd", "UVM_ALLOC_DEVICE_P2P", "rmCtrlFd"},
    {Kind::kUvm, 0x4e, 44, "client", "UVM_ALLOC_DEVICE_P2P", "hClient"},
};

}  // namespace nvshim::testing

#endif  // TESTING_HOSTILE_FIELDS_OUTSIDE_TABLES_DATA_H_
