// Law: memory that one process offers with cuIpcGetMemHandle is the same memory in another one.
#include "testing/clients/pair.h"
#include "testing/gpu/programs/kit.h"

enum { kItems = 1 << 20, kRounds = 50 };
static const size_t kSize = kItems * sizeof(uint32_t);

// Looks at what the other process wrote, and writes in its turn.
static void Open(int socket) {
  CUipcHandle offer;
  char byte = 0;
  Receive(socket, &offer, sizeof(offer));
  StartKit();
  CUdeviceptr device = 0;
  CHECK(cuIpcOpenMemHandle(&device, offer, CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS));
  uint32_t* values = (uint32_t*)Allocate(kSize);
  CHECK(cuMemcpyDtoH(values, device, kSize));
  for (uint32_t i = 0; i < kItems; ++i) {
    const uint32_t expected = Mixed(i, kRounds);
    CompareResult("what the other process computed", &expected, &values[i], sizeof(expected));
    values[i] = i * 5;
  }
  CHECK(cuMemcpyHtoD(device, values, kSize));
  CHECK(cuCtxSynchronize());
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
  CUipcHandle offer;
  char byte = 0;
  CHECK(cuMemAlloc(&device, kSize));
  CHECK(cuIpcGetMemHandle(&offer, device));
  for (uint32_t i = 0; i < kItems; ++i) values[i] = i;
  CHECK(cuMemcpyHtoD(device, values, kSize));
  void* parameters[] = {&device, &count, &rounds};
  Launch(FindKernel(module, "mix"), kItems, NULL, parameters);
  CHECK(cuCtxSynchronize());
  Send(socket, &offer, sizeof(offer));
  Receive(socket, &byte, 1);
  CHECK(cuMemcpyDtoH(values, device, kSize));
  for (uint32_t i = 0; i < kItems; ++i)
    if (values[i] != i * 5) Fail("item %u is %u, the other process wrote %u", i, values[i], i * 5);
  AwaitChild(pid);
  CHECK(cuMemFree(device));
  CHECK(cuCtxDestroy(context));
  Step("memory was shared");
  return 0;
}
