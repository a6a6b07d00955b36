// Laws: a kernel that stores where nothing is mapped ends with CUDA_ERROR_ILLEGAL_ADDRESS; its process can do
// no more with its context; the next process works.
#include "testing/gpu/programs/kit.h"

static void StoreNowhere(const void* unused) {
  (void)unused;
  StartKit();
  CUfunction store = FindKernel(LoadKernels(), "store");
  CUdeviceptr nowhere = (CUdeviceptr)1 << 46, device = 0;
  uint32_t value = 1;
  void* parameters[] = {&nowhere, &value};
  CHECK(cuLaunchKernel(store, 1, 1, 1, 1, 1, 1, 0, NULL, parameters, NULL));
  const CUresult result = cuCtxSynchronize();
  Step("a store to nowhere ends with %d %s", result, ErrorName(result));
  if (result != CUDA_ERROR_ILLEGAL_ADDRESS) Fail("CUDA_ERROR_ILLEGAL_ADDRESS is right");
  const CUresult after = cuMemAlloc(&device, 4096);
  Step("an allocation afterwards ends with %d %s", after, ErrorName(after));
  if (after == CUDA_SUCCESS) Fail("the context works on");
}

static void Compute(const void* unused) {
  (void)unused;
  StartKit();
  CUfunction store = FindKernel(LoadKernels(), "store");
  uint32_t value = 4711, stored = 0;
  CUdeviceptr device = 0;
  CHECK(cuMemAlloc(&device, sizeof(value)));
  void* parameters[] = {&device, &value};
  CHECK(cuLaunchKernel(store, 1, 1, 1, 1, 1, 1, 0, NULL, parameters, NULL));
  CHECK(cuMemcpyDtoH(&stored, device, sizeof(stored)));
  if (stored != value) Fail("%u is stored, %u is right", stored, value);
  Step("the next process computes");
}

int main(void) {
  if (!KernelsRun()) NotApplicable("kernels do not run here");
  RunInChild(StoreNowhere, NULL);
  RunInChild(Compute, NULL);
  return 0;
}
