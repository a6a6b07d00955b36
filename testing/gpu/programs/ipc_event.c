// Law: an event that one process records is waited for by another one (cuIpcGetEventHandle).
#include "testing/clients/pair.h"
#include "testing/gpu/programs/kit.h"

enum { kItems = 1 << 20, kRounds = 50 };
static const size_t kSize = kItems * sizeof(uint32_t);

typedef struct {
  CUipcHandle memory, event;
} Offer;

// Waits for the event before it looks at what the other process computes.
static void Open(int socket) {
  Offer offer;
  char byte = 0;
  Receive(socket, &offer, sizeof(offer));
  StartKit();
  CUdeviceptr device = 0;
  CUevent event = NULL;
  CHECK(cuIpcOpenMemHandle(&device, offer.memory, CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS));
  CHECK(cuIpcOpenEventHandle(&event, offer.event));
  CHECK(cuStreamWaitEvent(NULL, event, 0));
  uint32_t* values = (uint32_t*)Allocate(kSize);
  CHECK(cuMemcpyDtoH(values, device, kSize));
  for (uint32_t i = 0; i < kItems; ++i) {
    const uint32_t expected = Mixed(i, kRounds);
    CompareResult("what the other process computed", &expected, &values[i], sizeof(expected));
  }
  CHECK(cuEventDestroy(event));
  CHECK(cuIpcCloseMemHandle(device));
  Send(socket, &byte, 1);
}

int main(void) {
  pid_t pid = -1;
  const int socket = StartPair(Open, &pid);
  CUcontext context = StartKit();
  CUmodule module = LoadKernels();
  uint32_t* values = (uint32_t*)Allocate(kSize);
  uint32_t count = kItems, rounds = kRounds;
  CUdeviceptr device = 0;
  CUevent event = NULL;
  Offer offer;
  char byte = 0;
  CHECK(cuMemAlloc(&device, kSize));
  CHECK(cuEventCreate(&event, CU_EVENT_DISABLE_TIMING | CU_EVENT_INTERPROCESS));
  CHECK(cuIpcGetMemHandle(&offer.memory, device));
  CHECK(cuIpcGetEventHandle(&offer.event, event));
  for (uint32_t i = 0; i < kItems; ++i) values[i] = i;
  CHECK(cuMemcpyHtoD(device, values, kSize));
  void* parameters[] = {&device, &count, &rounds};
  Launch(FindKernel(module, "mix"), kItems, NULL, parameters);
  CHECK(cuEventRecord(event, NULL));
  Send(socket, &offer, sizeof(offer));
  Receive(socket, &byte, 1);
  AwaitChild(pid);
  CHECK(cuMemFree(device));
  CHECK(cuCtxDestroy(context));
  Step("an event was shared");
  return 0;
}
