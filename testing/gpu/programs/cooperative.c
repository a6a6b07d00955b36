// Law: a cooperative launch with as many blocks as fit at once lets all its threads wait for each other: what
// every thread wrote before is there for every other one after.
#include <string.h>

#include "testing/gpu/programs/kit.h"

enum { kThreads = 256 };

int main(void) {
  CUcontext context = StartKit();
  if (Attribute(CU_DEVICE_ATTRIBUTE_COOPERATIVE_LAUNCH) == 0)
    NotApplicable("the GPU has no cooperative launches");
  CUmodule module = LoadKernels();
  CUfunction exchange = FindKernel(module, "exchange");
  int blocks_each = 0;
  CHECK(cuOccupancyMaxActiveBlocks(&blocks_each, exchange, kThreads, 0));
  const uint32_t blocks = (uint32_t)(blocks_each * Attribute(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT));
  uint32_t count = blocks * kThreads;
  const size_t size = count * sizeof(uint32_t);
  uint32_t *results = (uint32_t*)Allocate(size), *expected = (uint32_t*)Allocate(size);
  for (uint32_t i = 0; i < count; ++i) expected[i] = 3 * (count - 1 - i);
  CUdeviceptr values = 0, exchanged = 0, arrived = 0;
  CHECK(cuMemAlloc(&values, size));
  CHECK(cuMemAlloc(&exchanged, size));
  CHECK(cuMemAlloc(&arrived, sizeof(uint32_t)));
  for (int round = 0; round < 3; ++round) {
    CHECK(cuMemsetD32(values, 0, count));
    CHECK(cuMemsetD32(arrived, 0, 1));
    void* parameters[] = {&values, &exchanged, &count, &arrived};
    CHECK(cuLaunchCooperativeKernel(exchange, blocks, 1, 1, kThreads, 1, 1, 0, NULL, parameters));
    CHECK(cuMemcpyDtoH(results, exchanged, size));
    CompareResult("what was exchanged", expected, results, size);
  }
  Step("%u blocks of %d threads", blocks, kThreads);
  Result("what was exchanged", results, size);
  CHECK(cuCtxDestroy(context));
  return 0;
}
