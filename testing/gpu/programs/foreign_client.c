// Law: what belongs to one guest cannot be named by another one. As `victim` it makes an RM client with a
// device, a subdevice and memory, prints the client's handle, and when its standard input ends all must still
// be as it was. As `intruder CLIENT FIRST COUNT` it puts that client, and COUNT numbers from FIRST on, into
// every field of the driver's parameters that names a client: no call may succeed. Every call is made with a
// client of its own first, and what that gives is printed to standard error: where that succeeds, the refusal
// is for the client alone. Speaks to the device files by hand; the layouts are those of nvos.h and the
// ctrl*.h of the open kernel modules.
//
// The numbers from FIRST on may be anybody's, so nothing is asked of them that would change what they name.
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "testing/clients/cuda.h"

enum {
  kFree = 0x29,
  kControl = 0x2a,
  kAlloc = 0x2b,
  kDup = 0x34,
  kShare = 0x35,
  kMapMemory = 0x4e,
  kAllocOsEvent = 0xce,
  kUvmRegisterGpuVaSpace = 0x19,
  kUvmRegisterGpu = 0x25,
  kUvmInitialize = 0x30000001,

  kRoot = 0,
  kDevice = 0x80,
  kSubdevice = 0x2080,
  kOsEvent = 0x79,
  kSystemMemory = 0x3e,
  kAttrLocationPci = 1 << 25,  // NVOS32_ATTR_LOCATION
  kProbedIds = 0x214,

  kDeviceHandle = 0x5c000001,
  kSubdeviceHandle = 0x5c000002,
  kMemoryHandle = 0x5c000003,
  kNewHandle = 0x5c000010,
  kNoErrorNoStatus = 0,
  kBytesMax = 2048,
  kOtherClients = 16,
  kMinors = 32,
  kMemoryBytes = 65536,
};

typedef struct {
  uint32_t client, device, subdevice, memory;
} Handles;

static int ctl, uvm;

// The errno, or else the NV_STATUS with this bit; 0 when the call succeeded.
enum { kStatusBit = 1 << 16 };

static int Escape(int file, unsigned nr, void* params, unsigned size, unsigned status_at) {
  uint32_t status;
  if (ioctl(file, _IOC(_IOC_READ | _IOC_WRITE, 'F', nr, size), params) != 0) return errno;
  memcpy(&status, (char*)params + status_at, sizeof(status));
  return status == 0 ? kNoErrorNoStatus : (int)(status | kStatusBit);
}

static int Alloc(uint32_t client, uint32_t parent, uint32_t handle, uint32_t class, void* params) {
  uint32_t call[8] = {client, parent, handle, class};
  memcpy(&call[4], &params, sizeof(params));
  return Escape(ctl, kAlloc, call, sizeof(call), 28);
}

static int Control(uint32_t client, uint32_t object, uint32_t cmd, void* params, uint32_t size) {
  uint32_t call[8] = {client, object, cmd, 0};
  memcpy(&call[4], &params, sizeof(params));
  call[6] = size;
  return Escape(ctl, kControl, call, sizeof(call), 28);
}

static int Free(uint32_t client, uint32_t object) {
  uint32_t call[4] = {client, client, object, 0};
  return Escape(ctl, kFree, call, sizeof(call), 12);
}

static int Probe(uint32_t client) {
  uint32_t ids[64] = {0};
  return Control(client, client, kProbedIds, ids, sizeof(ids));
}

static void OpenDevices(void) {
  ctl = open("/dev/nvidiactl", O_RDWR | O_CLOEXEC);
  uvm = open("/dev/nvidia-uvm", O_RDWR | O_CLOEXEC);
  // A device can only be made by who holds its node open. A container need not have the first one.
  int gpu = -1;
  for (int minor = 0; minor < kMinors && gpu < 0; ++minor) {
    char path[32];
    snprintf(path, sizeof(path), "/dev/nvidia%d", minor);
    gpu = open(path, O_RDWR | O_CLOEXEC);
  }
  if (ctl < 0 || uvm < 0 || gpu < 0) Fail("no device files: %s", strerror(errno));
}

static Handles Arrive(void) {
  Handles own = {0, kDeviceHandle, kSubdeviceHandle, kMemoryHandle};
  uint32_t call[8] = {0}, device[14] = {0}, subdevice[1] = {0};
  // NV_MEMORY_ALLOCATION_PARAMS has 120 or 128 bytes: attr is at 24, the size at 64.
  uint32_t memory[32] = {0};
  memory[6] = kAttrLocationPci;
  memory[16] = kMemoryBytes;
  if (Escape(ctl, kAlloc, call, sizeof(call), 28) != 0) Fail("no RM client");
  own.client = call[2];
  if (Alloc(own.client, own.client, own.device, kDevice, device) != 0) Fail("no device");
  if (Alloc(own.client, own.device, own.subdevice, kSubdevice, subdevice) != 0) Fail("no subdevice");
  if (Alloc(own.client, own.device, own.memory, kSystemMemory, memory) != 0) Fail("no memory");
  return own;
}

// ---- Attempts: each puts `client` where a client is named; `own` is who asks, `of` what is asked for ----

typedef int (*Attempt)(const Handles* own, const Handles* of);

static int AskIt(const Handles* own, const Handles* of) {
  (void)own;
  return Probe(of->client);
}

static int AllocateInIt(const Handles* own, const Handles* of) {
  (void)own;
  uint32_t params[1] = {0};
  const int result = Alloc(of->client, of->device, kNewHandle, kSubdevice, params);
  if (result == 0) Free(of->client, kNewHandle);
  return result;
}

static int Duplicate(const Handles* own, const Handles* of) {
  uint32_t call[7] = {own->client, own->device, kNewHandle, of->client, of->memory};
  const int result = Escape(ctl, kDup, call, sizeof(call), 24);
  if (result == 0) Free(own->client, kNewHandle);
  return result;
}

static int DeviceSharedWithIt(const Handles* own, const Handles* of) {
  uint32_t params[14] = {0, of->client, 0};
  const int result = Alloc(own->client, own->client, kNewHandle, kDevice, params);
  if (result == 0) Free(own->client, kNewHandle);
  return result;
}

static int DeviceForIt(const Handles* own, const Handles* of) {
  uint32_t params[14] = {0, 0, of->client};
  const int result = Alloc(own->client, own->client, kNewHandle, kDevice, params);
  if (result == 0) Free(own->client, kNewHandle);
  return result;
}

static int EventOfIt(const Handles* own, const Handles* of) {
  uint32_t params[6] = {of->client, of->subdevice, kOsEvent, 0, (uint32_t)ctl, 0};
  const int result = Alloc(own->client, own->subdevice, kNewHandle, kOsEvent, params);
  if (result == 0) Free(own->client, kNewHandle);
  return result;
}

static int OsEventOfIt(const Handles* own, const Handles* of) {
  (void)own;
  uint32_t call[4] = {of->client, of->device, (uint32_t)ctl, 0};
  return Escape(ctl, kAllocOsEvent, call, sizeof(call), 12);
}

static int AccessRightsOfIt(const Handles* own, const Handles* of) {
  uint32_t params[3] = {of->device, of->client, 0};
  return Control(own->client, own->client, 0xd03, params, sizeof(params));
}

static int ShareWithIt(const Handles* own, const Handles* of) {
  uint32_t call[6] = {own->client, own->device, of->client, 0, 3, 0};  // RS_SHARE_TYPE_CLIENT
  return Escape(ctl, kShare, call, sizeof(call), 20);
}

// NVOS33 and a descriptor, which gets the mapping: a file of its own.
static int MapItsMemory(const Handles* own, const Handles* of) {
  (void)own;
  uint32_t call[14] = {of->client, of->device, of->memory};
  const int file = open("/dev/nvidiactl", O_RDWR | O_CLOEXEC);
  call[6] = kMemoryBytes;
  call[12] = (uint32_t)file;
  const int result = Escape(ctl, kMapMemory, call, sizeof(call), 40);
  close(file);
  return result;
}

static int FreeIt(const Handles* own, const Handles* of) {
  (void)own;
  return Free(of->client, of->client);
}

static int UvmRegisterGpu(const Handles* own, const Handles* of) {
  (void)own;
  uint32_t call[10] = {0};
  call[6] = (uint32_t)ctl;
  call[7] = of->client;
  call[8] = of->subdevice;
  return ioctl(uvm, kUvmRegisterGpu, call) != 0 ? errno : call[9] == 0 ? 0 : (int)(call[9] | kStatusBit);
}

static int UvmRegisterVaSpace(const Handles* own, const Handles* of) {
  (void)own;
  uint32_t call[8] = {0};
  call[4] = (uint32_t)ctl;
  call[5] = of->client;
  call[6] = of->device;
  return ioctl(uvm, kUvmRegisterGpuVaSpace, call) != 0 ? errno
         : call[7] == 0                                ? 0
                                                       : (int)(call[7] | kStatusBit);
}

// A control of the subdevice with a client at `offset`; where `count_at` is not 0, a list of one channel of
// it.
typedef struct {
  const char* what;
  uint32_t cmd, size, offset, count_at;
} ControlField;
static const ControlField kControls[] = {
    {"GPU_EXEC_REG_OPS", 0x20800122, 48, 0, 0},          {"GPU_MIGRATABLE_OPS", 0x208001a6, 1832, 0, 0},
    {"FIFO_DISABLE_CHANNELS", 0x2080110b, 536, 24, 4},   {"GR_CTXSW_ZCULL_MODE", 0x20801205, 16, 4, 0},
    {"GR_CTXSW_ZCULL_BIND", 0x20801208, 24, 0, 0},       {"GR_CTXSW_PM_BIND", 0x20801209, 40, 0, 0},
    {"GR_CTXSW_PREEMPTION_BIND", 0x20801211, 104, 4, 0}, {"DMA_INVALIDATE_TLB", 0x20802502, 16, 0, 0},
};
enum { kControls_count = sizeof(kControls) / sizeof(kControls[0]) };

static int ControlWithIt(const ControlField* field, const Handles* own, const Handles* of) {
  uint8_t params[kBytesMax] = {0};
  const uint32_t one = 1;
  memcpy(params + field->offset, &of->client, sizeof(of->client));
  if (field->count_at != 0) memcpy(params + field->count_at, &one, sizeof(one));
  return Control(own->client, own->subdevice, field->cmd, params, field->size);
}

typedef struct {
  const char* what;
  Attempt attempt;
  bool harmless;  // may be tried with a number that could be anybody's
} Named;
static const Named kAttempts[] = {
    {"a control of it", AskIt, true},
    {"an object in it", AllocateInIt, true},
    {"a duplicate of its memory", Duplicate, true},
    {"a device that shares with it", DeviceSharedWithIt, true},
    {"a device for it", DeviceForIt, true},
    {"an OS event of it", OsEventOfIt, true},
    {"an event of it", EventOfIt, true},
    {"its access rights", AccessRightsOfIt, true},
    {"a share with it", ShareWithIt, false},
    {"a mapping of its memory", MapItsMemory, false},
    {"a GPU of it for UVM", UvmRegisterGpu, false},
    {"an address space of it for UVM", UvmRegisterVaSpace, false},
    {"a free of it", FreeIt, false},
};
enum { kAttempts_count = sizeof(kAttempts) / sizeof(kAttempts[0]) };

static const char* Text(int result, char text[32]) {
  if (result == 0) return "success";
  snprintf(text, 32, result & kStatusBit ? "status 0x%x" : "errno %d", result & ~kStatusBit);
  return text;
}

static int Refused(const char* what, int with_own, int with_foreign) {
  char own_text[32], foreign_text[32];
  fprintf(stderr, "%s: %s with one's own client, %s with the other's\n", what, Text(with_own, own_text),
          Text(with_foreign, foreign_text));
  if (with_foreign == 0) {
    Step("%s: SUCCEEDS", what);
    return 0;
  }
  Step("%s: refused", what);
  return 1;
}

static int Intrude(const Handles* of, uint32_t first, uint32_t count) {
  OpenDevices();
  const Handles own = Arrive();
  int broken = 0;
  if (of->client == own.client) Fail("the victim's client has the number of one's own");
  uint64_t initialize[2] = {0};
  if (ioctl(uvm, kUvmInitialize, initialize) != 0) Fail("UVM_INITIALIZE: %s", strerror(errno));
  for (int i = 0; i < kAttempts_count; ++i) {
    // To free one's own client is no part of this.
    const int with_own = kAttempts[i].attempt == FreeIt ? 0 : kAttempts[i].attempt(&own, &own);
    broken += !Refused(kAttempts[i].what, with_own, kAttempts[i].attempt(&own, of));
  }
  for (int i = 0; i < kControls_count; ++i)
    broken += !Refused(kControls[i].what, ControlWithIt(&kControls[i], &own, &own),
                       ControlWithIt(&kControls[i], &own, of));
  for (uint32_t client = first; client < first + count; ++client) {
    const Handles guessed = {client, kDeviceHandle, kSubdeviceHandle, kMemoryHandle};
    for (int i = 0; i < kAttempts_count && client != own.client; ++i)
      if (kAttempts[i].harmless && kAttempts[i].attempt(&own, &guessed) == 0) {
        Step("%s: SUCCEEDS with client 0x%x", kAttempts[i].what, client);
        ++broken;
      }
  }
  Step("%u guessed numbers", count);
  if (Probe(own.client) != 0) Fail("its own client does not work any more");
  return broken == 0 ? 0 : 1;
}

// Both guests count from the same number. The victim's client is to be one whose number means nothing to the
// intruder, which has a single client.
static void CountOn(void) {
  for (int i = 0; i < kOtherClients; ++i) {
    uint32_t call[8] = {0};
    if (Escape(ctl, kAlloc, call, sizeof(call), 28) != 0) Fail("no RM client");
  }
}

static int BeVictim(void) {
  char byte;
  OpenDevices();
  CountOn();
  const Handles own = Arrive();
  Step("client 0x%x", own.client);
  while (read(STDIN_FILENO, &byte, 1) > 0) {
  }
  uint32_t params[1] = {0};
  if (Probe(own.client) != 0) Fail("the client is gone");
  if (Alloc(own.client, own.device, kNewHandle, kSubdevice, params) != 0) Fail("the device is gone");
  Step("unharmed");
  return 0;
}

static uint32_t Number(const char* text) { return (uint32_t)strtoul(text, NULL, 0); }

int main(int argc, char** argv) {
  if (argc == 2 && strcmp(argv[1], "victim") == 0) return BeVictim();
  if (argc != 5 || strcmp(argv[1], "intruder") != 0)
    Fail("usage: foreign_client victim | intruder CLIENT FIRST COUNT");
  // Objects have the same numbers in every client that this program makes.
  const Handles of = {Number(argv[2]), kDeviceHandle, kSubdeviceHandle, kMemoryHandle};
  return Intrude(&of, Number(argv[3]), Number(argv[4]));
}
