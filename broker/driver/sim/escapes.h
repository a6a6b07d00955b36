// The ioctls of /dev/nvidiactl and /dev/nvidia<N>: one row each, and the handlers behind the rows. A handler
// gets a struct of exactly the row's size on a file of the right kind, and writes into the call only when it
// succeeds, as RM copies out only then. Runs under the driver's lock; nothing in a call is trusted.
#ifndef BROKER_DRIVER_SIM_ESCAPES_H_
#define BROKER_DRIVER_SIM_ESCAPES_H_

#include <cstdint>

#include "broker/driver/call.h"
#include "broker/driver/sim/bytes.h"
#include "broker/driver/sim/machine.h"

namespace nvshim::broker::sim {

// One call on one file.
struct EscapeContext {
  Machine& machine;
  File& file;
  DriverFileId file_id;
  DriverFileId ctl_file;  // whose clients the file may use
  DriverCall& call;

  Client* FindClient(uint32_t handle) { return machine.tree.FindClient(handle, ctl_file); }
  // The bytes behind the pointer at `offset` of segment `parent`; empty for NULL.
  Bytes Child(uint32_t parent, uint32_t offset) {
    const uint32_t segment = call.Child(parent, offset);
    return segment == 0 ? Bytes() : Bytes(call.Bytes(segment));
  }
};

// Executes an ioctl of a ctl or GPU file; returns its errno.
int RunEscape(EscapeContext& context);

// The handlers, by the file they live in. Those that return an NvStatus have it put into the struct's status
// field.
NvStatus RmAlloc(EscapeContext& context, Bytes params);  // rm_alloc.cc
NvStatus RmFree(EscapeContext& context, Bytes params);
NvStatus RmDupObject(EscapeContext& context, Bytes params);
NvStatus RmShare(EscapeContext& context, Bytes params);
NvStatus RmControl(EscapeContext& context, Bytes params);      // rm_control.cc
NvStatus RmAllocMemory(EscapeContext& context, Bytes params);  // rm_memory.cc
NvStatus RmVidHeapControl(EscapeContext& context, Bytes params);
NvStatus RmMapMemory(EscapeContext& context, Bytes params);
NvStatus RmUnmapMemory(EscapeContext& context, Bytes params);
NvStatus RmUpdateDeviceMappingInfo(EscapeContext& context, Bytes params);
NvStatus RmMapMemoryDma(EscapeContext& context, Bytes params);  // rm_memory_dma.cc
NvStatus RmUnmapMemoryDma(EscapeContext& context, Bytes params);
NvStatus CardInfo(EscapeContext& context, Bytes params);  // frontend.cc
NvStatus RegisterFd(EscapeContext& context, Bytes params);
NvStatus AllocOsEvent(EscapeContext& context, Bytes params);
NvStatus FreeOsEvent(EscapeContext& context, Bytes params);
NvStatus CheckVersionStr(EscapeContext& context, Bytes params);
NvStatus AttachGpusToFd(EscapeContext& context, Bytes params);
NvStatus SysParams(EscapeContext& context, Bytes params);
NvStatus NumaInfo(EscapeContext& context, Bytes params);
NvStatus WaitOpenComplete(EscapeContext& context, Bytes params);

}  // namespace nvshim::broker::sim

#endif  // BROKER_DRIVER_SIM_ESCAPES_H_
