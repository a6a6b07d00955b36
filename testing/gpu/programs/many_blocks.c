// Laws: a kernel with more blocks than the GPU holds at once computes every item; kernels in one stream
// follow each other, also when they run for long; kernels of several streams all end, each with its own data;
// a running kernel sees what the host writes into pinned memory, and the host what the kernel writes.
#include <string.h>

#include "testing/gpu/programs/kit.h"

enum { kItems = 16 << 20, kRounds = 2000, kLaunches = 50, kStreams = 8, kStreamItems = 1 << 20 };

static void MixAll(CUfunction mix) {
  const size_t size = (size_t)kItems * sizeof(uint32_t);
  uint32_t *values = (uint32_t*)Allocate(size), *expected = (uint32_t*)Allocate(size);
  uint32_t count = kItems, rounds = kRounds;
  CUdeviceptr device = 0;
  CHECK(cuMemAlloc(&device, size));
  for (uint32_t i = 0; i < kItems; ++i) values[i] = i;
  CHECK(cuMemcpyHtoD(device, values, size));
  void* parameters[] = {&device, &count, &rounds};
  Launch(mix, count, NULL, parameters);
  CHECK(cuMemcpyDtoH(values, device, size));
  // Every 1001st item is computed here as well; the checksum is of all.
  for (uint32_t i = 0; i < kItems; i += 1001) {
    expected[0] = Mixed(i, kRounds);
    CompareResult("an item", expected, &values[i], sizeof(uint32_t));
  }
  Result("65536 blocks", values, size);
  CHECK(cuMemFree(device));
  free(values);
  free(expected);
}

static void RunInStreams(CUfunction mix) {
  const size_t size = (size_t)kStreamItems * sizeof(uint32_t);
  uint32_t *values = (uint32_t*)Allocate(size), count = kStreamItems, rounds = kRounds;
  CUstream streams[kStreams];
  CUdeviceptr devices[kStreams];
  for (int i = 0; i < kStreams; ++i) {
    CHECK(cuStreamCreate(&streams[i], CU_STREAM_NON_BLOCKING));
    CHECK(cuMemAlloc(&devices[i], size));
    CHECK(cuMemsetD32Async(devices[i], (unsigned)i, kStreamItems, streams[i]));
  }
  for (int launch = 0; launch < kLaunches; ++launch)
    for (int i = 0; i < kStreams; ++i) {
      void* parameters[] = {&devices[i], &count, &rounds};
      Launch(mix, count, streams[i], parameters);
    }
  for (int i = 0; i < kStreams; ++i) {
    CHECK(cuStreamSynchronize(streams[i]));
    CHECK(cuMemcpyDtoH(values, devices[i], size));
    const uint32_t expected = Mixed((uint32_t)i, kRounds * kLaunches);
    CompareResult("the first item of a stream", &expected, values, sizeof(expected));
    CompareResult("the last item of a stream", &expected, &values[kStreamItems - 1], sizeof(expected));
    Result("a stream", values, size);
    CHECK(cuMemFree(devices[i]));
    CHECK(cuStreamDestroy(streams[i]));
  }
  free(values);
}

static void TalkToKernel(CUfunction wait_for) {
  volatile uint32_t* words = NULL;
  CUdeviceptr flag = 0;
  CHECK(cuMemHostAlloc((void**)&words, 4096, CU_MEMHOSTALLOC_DEVICEMAP));
  CHECK(cuMemHostGetDevicePointer(&flag, (void*)words, 0));
  words[0] = words[64] = 0;
  CUdeviceptr done = flag + 64 * sizeof(uint32_t);
  CUstream stream = NULL;
  CHECK(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
  void* parameters[] = {&flag, &done};
  CHECK(cuLaunchKernel(wait_for, 1, 1, 1, 1, 1, 1, 0, stream, parameters, NULL));
  if (KernelsRun() && cuStreamQuery(stream) != CUDA_ERROR_NOT_READY) Fail("the kernel did not wait");
  words[0] = 1;
  CHECK(cuStreamSynchronize(stream));
  if (KernelsRun() && words[64] != 1) Fail("the kernel did not see what the host wrote");
  CHECK(cuStreamDestroy(stream));
  CHECK(cuMemFreeHost((void*)words));
  Step("kernel and host see each other's words");
}

int main(void) {
  CUcontext context = StartKit();
  CUmodule module = LoadKernels();
  MixAll(FindKernel(module, "mix"));
  RunInStreams(FindKernel(module, "mix"));
  TalkToKernel(FindKernel(module, "wait_for"));
  CHECK(cuCtxDestroy(context));
  return 0;
}
