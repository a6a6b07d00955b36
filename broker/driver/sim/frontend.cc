// The escapes that the kernel module's frontend answers itself, without RM: version handshake, the list of
// cards, which file belongs to which, event files.
#include "broker/driver/frontend_answers.h"
#include "broker/driver/sim/escapes.h"
#include "broker/driver/sim/limits.h"

namespace nvshim::broker::sim {
namespace {

constexpr uint32_t kCardInfoBytes = 72;
// nv_ioctl_alloc_os_event_t and its counterpart: `fd`, which only names the event. The file is the one that
// the call is made on.
constexpr size_t kOsEventNumber = 8;
// Made-up bus addresses, far above RAM and apart from each other; clients only print them.
constexpr uint64_t kBar0Base = 0xf000'0000, kBar1Base = 0x38'0000'0000'00, kBar1Step = 0x100'0000'0000;

}  // namespace

NvStatus CardInfo(EscapeContext& context, Bytes params) {
  const auto& gpus = context.machine.gpus();
  if (params.size() / kCardInfoBytes < gpus.size()) return NV_ERR_INVALID_ARGUMENT;
  params.Fill(0);
  for (size_t i = 0; i < gpus.size(); ++i) {
    const Gpu& gpu = gpus[i];
    Bytes card = params.Sub(i * kCardInfoBytes, kCardInfoBytes);
    card.PutU8(0, 1);                                          // valid
    card.PutU32(4, 0);                                         // pci_info.domain
    card.PutU8(8, static_cast<uint8_t>(gpu.bus()));            // pci_info.bus; slot and function stay 0
    card.PutU16(12, 0x10de);                                   // pci_info.vendor_id
    card.PutU16(14, gpu.profile->pci_device_id);               // pci_info.device_id
    card.PutU32(16, gpu.gpu_id);                               // gpu_id
    card.PutU16(20, static_cast<uint16_t>(16 + i));            // interrupt_line
    card.PutU64(24, kBar0Base + i * gpu.profile->bar0_bytes);  // reg_address
    card.PutU64(32, gpu.profile->bar0_bytes);                  // reg_size
    card.PutU64(40, kBar1Base + i * kBar1Step);                // fb_address
    card.PutU64(48, gpu.profile->bar1_bytes);                  // fb_size
    card.PutU32(56, gpu.minor);                                // minor_number
  }
  return NV_OK;
}

NvStatus RegisterFd(EscapeContext& context, Bytes /*params*/) {
  const DriverFileId ctl_id = context.call.File(0, 0);
  File* ctl = context.machine.FindFile(ctl_id);
  // Once per file, and only to a ctl file that is itself not registered.
  if (ctl == nullptr || ctl == &context.file || ctl->node.device_class != DeviceClass::kCtl ||
      ctl->registered_ctl != 0 || context.file.registered_ctl != 0)
    return NV_ERR_INVALID_ARGUMENT;
  context.file.registered_ctl = ctl_id;
  ctl->registrants.insert(context.file_id);
  return NV_OK;
}

NvStatus AllocOsEvent(EscapeContext& context, Bytes params) {
  Client* client = context.FindClient(params.U32(0));
  if (client == nullptr) return NV_ERR_INVALID_CLIENT;
  return client->events->Allocate(params.U32(kOsEventNumber), context.file.id, context.machine.os_events);
}

NvStatus FreeOsEvent(EscapeContext& context, Bytes params) {
  Client* client = context.FindClient(params.U32(0));
  return client == nullptr ? NV_ERR_INVALID_CLIENT : client->events->Free(params.U32(kOsEventNumber));
}

NvStatus CheckVersionStr(EscapeContext& context, Bytes params) {
  return broker::CheckVersionStr(context.machine.version(), params.span()) == 0 ? NV_OK
                                                                                : NV_ERR_INVALID_ARGUMENT;
}

NvStatus AttachGpusToFd(EscapeContext& context, Bytes params) {
  if (context.file.gpus_attached) return NV_ERR_INVALID_ARGUMENT;
  for (size_t offset = 0; offset < params.size(); offset += 4) {
    const uint32_t gpu_id = params.U32(offset);
    if (gpu_id != 0 && !context.machine.FindGpu(gpu_id)) return NV_ERR_INVALID_ARGUMENT;
  }
  context.file.gpus_attached = true;
  return NV_OK;
}

NvStatus SysParams(EscapeContext& context, Bytes params) {
  uint64_t& memblock_size = context.machine.memblock_size;
  // The real module wants one value from all processes. Here guests of different kernels may share a driver,
  // and nothing depends on it: the first value is kept for NUMA_INFO.
  if (memblock_size == 0) memblock_size = params.U64(0);
  return NV_OK;
}

NvStatus NumaInfo(EscapeContext& context, Bytes params) {
  broker::NumaInfo(context.machine.memblock_size, params.span());
  return NV_OK;
}

NvStatus WaitOpenComplete(EscapeContext& /*context*/, Bytes params) {
  params.Fill(0);  // rc, adapterStatus: opened, and well
  return NV_OK;
}

}  // namespace nvshim::broker::sim
