// Laws: cuMemGetInfo knows the device's memory; what is allocated is missing from what is free, and all of it
// is back when it is freed. More than there is cannot be had, and asking for it does no harm.
#include "testing/clients/cuda.h"

enum { kAllocations = 16 };
static const size_t kBytes = 64 << 20;

static size_t Free(size_t total) {
  size_t free_now = 0, total_now = 0;
  CHECK(cuMemGetInfo(&free_now, &total_now));
  if (total_now != total) Fail("the device has %zu bytes, it had %zu", total_now, total);
  if (free_now > total) Fail("%zu bytes of %zu are free", free_now, total);
  return free_now;
}

int main(void) {
  CUcontext context = CreateFirstContext();
  CUdevice device = -1;
  size_t total = 0, free_before = 0, total_before = 0;
  CUdeviceptr memory[kAllocations];
  CHECK(cuDeviceGet(&device, 0));
  CHECK(cuDeviceTotalMem(&total, device));
  CHECK(cuMemGetInfo(&free_before, &total_before));
  Step("%zu of %zu bytes are free", free_before, total_before);
  if (total_before != total) Fail("cuDeviceTotalMem says %zu bytes", total);
  for (int i = 0; i < kAllocations; ++i) {
    const size_t before = Free(total);
    CHECK(cuMemAlloc(&memory[i], kBytes));
    const size_t after = Free(total);
    if (after + kBytes > before)
      Fail("%zu bytes are free, then %zu are allocated and %zu are", before, kBytes, after);
  }
  Step("%zu bytes are free after %d allocations", Free(total), kAllocations);
  for (int i = 0; i < kAllocations; ++i) CHECK(cuMemFree(memory[i]));
  if (Free(total) != free_before)
    Fail("%zu bytes are free after all is freed, %zu were", Free(total), free_before);

  Step("more than there is");
  CUdeviceptr none = 0;
  const CUresult result = cuMemAlloc(&none, total + 1);
  if (result != CUDA_ERROR_OUT_OF_MEMORY)
    Fail("%zu bytes are allocated with %d %s", total + 1, result, ErrorName(result));
  if (Free(total) != free_before)
    Fail("%zu bytes are free after a refusal, %zu were", Free(total), free_before);
  CHECK(cuMemAlloc(&memory[0], kBytes));
  CHECK(cuMemFree(memory[0]));
  CHECK(cuCtxDestroy(context));
  Step("memory is counted");
  return 0;
}
