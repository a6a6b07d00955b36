// Laws: managed memory holds what processor and GPU write to it in turns, wherever it has been moved to and
// whatever advice was given; the processor may use one allocation while a kernel uses another one.
#include <string.h>

#include "testing/gpu/programs/kit.h"

enum { kItems = 8 << 20, kRounds = 200, kSteps = 4 };
static const size_t kSize = (size_t)kItems * sizeof(uint32_t);

static uint32_t* Managed(CUdeviceptr* device) {
  CHECK(cuMemAllocManaged(device, kSize, CU_MEM_ATTACH_GLOBAL));
  return (uint32_t*)(uintptr_t)*device;
}

static void Advise(CUdeviceptr device, int step) {
  static const struct {
    const char* what;
    int advice;
    CUdevice where;
  } kAdvices[kSteps] = {{"no advice", 0, 0},
                        {"read mostly", CU_MEM_ADVISE_SET_READ_MOSTLY, 0},
                        {"preferred on the host", CU_MEM_ADVISE_SET_PREFERRED_LOCATION, CU_DEVICE_CPU},
                        {"accessed by the GPU", CU_MEM_ADVISE_SET_ACCESSED_BY, 0}};
  Step("%s", kAdvices[step].what);
  if (kAdvices[step].advice != 0)
    CHECK(cuMemAdvise(device, kSize, kAdvices[step].advice, kAdvices[step].where));
}

// The kernel is slow enough to run while the processor writes to memory of its own.
static void UseBothAtOnce(CUfunction mix, CUstream stream) {
  CUdeviceptr theirs = 0, ours = 0;
  uint32_t *gpu = Managed(&theirs), *cpu = Managed(&ours);
  uint32_t count = kItems, rounds = 20000;
  for (uint32_t i = 0; i < kItems; ++i) gpu[i] = i;
  void* parameters[] = {&theirs, &count, &rounds};
  Launch(mix, count, stream, parameters);
  for (uint32_t i = 0; i < kItems; ++i) cpu[i] = 7 * i;
  CHECK(cuStreamSynchronize(stream));
  for (uint32_t i = 0; i < kItems; i += 4099) {
    const uint32_t expected = Mixed(i, rounds);
    CompareResult("what the GPU wrote", &expected, &gpu[i], sizeof(expected));
    if (cpu[i] != 7 * i) Fail("item %u, which the processor wrote, is %u", i, cpu[i]);
  }
  Result("what the GPU wrote meanwhile", gpu, kSize);
  CHECK(cuMemFree(theirs));
  CHECK(cuMemFree(ours));
}

int main(void) {
  CUcontext context = StartKit();
  CUmodule module = LoadKernels();
  CUfunction mix = FindKernel(module, "mix");
  const int concurrent = Attribute(CU_DEVICE_ATTRIBUTE_CONCURRENT_MANAGED_ACCESS);
  CUstream stream = NULL;
  CUdeviceptr device = 0;
  CHECK(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
  uint32_t* values = Managed(&device);
  uint32_t count = kItems, rounds = kRounds;
  Step("concurrent access: %d", concurrent);
  for (int step = 0; step < kSteps; ++step) {
    if (concurrent) Advise(device, step);
    for (uint32_t i = 0; i < kItems; ++i) values[i] = i + (uint32_t)step;
    if (concurrent) CHECK(cuMemPrefetchAsync(device, kSize, 0, stream));
    void* parameters[] = {&device, &count, &rounds};
    Launch(mix, count, stream, parameters);
    if (concurrent) CHECK(cuMemPrefetchAsync(device, kSize, CU_DEVICE_CPU, stream));
    CHECK(cuStreamSynchronize(stream));
    for (uint32_t i = 0; i < kItems; i += 4099) {
      const uint32_t expected = Mixed(i + (uint32_t)step, kRounds);
      CompareResult("managed memory", &expected, &values[i], sizeof(expected));
    }
    Result("managed memory", values, kSize);
  }
  CHECK(cuMemFree(device));
  if (concurrent) UseBothAtOnce(mix, stream);
  CHECK(cuCtxDestroy(context));
  return 0;
}
