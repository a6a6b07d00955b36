// Law: the simulated GPU runs no shader programs. A kernel launch ends with CUDA_ERROR_LAUNCH_FAILED. A copy
// from device to device and a large memset, which libcuda does with kernels of its own, end with it as well,
// unless the data is right. What follows in a new context of the same process works.
#include <string.h>

#include "testing/clients/cuda.h"

enum { kBytes = 1 << 20, kSet = 7 };

static const char kPtx[] =
    ".version 7.0\n"
    ".target sm_50\n"
    ".address_size 64\n"
    ".visible .entry nothing() { ret; }\n";

static CUresult Launch(CUdeviceptr memory, unsigned char* expected) {
  (void)memory, (void)expected;
  CUmodule module = NULL;
  CUfunction function = NULL;
  CHECK(cuModuleLoadData(&module, kPtx));
  CHECK(cuModuleGetFunction(&function, module, "nothing"));
  const CUresult result = cuLaunchKernel(function, 1, 1, 1, 32, 1, 1, 0, NULL, NULL, NULL);
  return result != CUDA_SUCCESS ? result : cuCtxSynchronize();
}

static CUresult CopyOnDevice(CUdeviceptr memory, unsigned char* expected) {
  memcpy(expected + kBytes / 2, expected, kBytes / 2);
  return cuMemcpyDtoD(memory + kBytes / 2, memory, kBytes / 2);
}

static CUresult SetMuch(CUdeviceptr memory, unsigned char* expected) {
  memset(expected, kSet, kBytes);
  return cuMemsetD8(memory, kSet, kBytes);
}

typedef struct {
  const char* what;
  CUresult (*work)(CUdeviceptr memory, unsigned char* expected);
  int may_succeed;  // because its effect can be checked
} Case;

static const Case kCases[] = {
    {"a kernel", Launch, 0},
    {"a copy from device to device", CopyOnDevice, 1},
    {"a large memset", SetMuch, 1},
};
enum { kCases_count = sizeof(kCases) / sizeof(kCases[0]) };

static void Try(const void* data) {
  const Case* one = data;
  CUdeviceptr memory = 0;
  unsigned char *expected = Allocate(kBytes), *seen = AllocateZeros(kBytes);
  CreateFirstContext();
  CHECK(cuMemAlloc(&memory, kBytes));
  Fill(expected, kBytes, 1);
  CHECK(cuMemcpyHtoD(memory, expected, kBytes));
  CUresult result = one->work(memory, expected);
  if (result == CUDA_SUCCESS) result = cuMemcpyDtoH(seen, memory, kBytes);
  Step("%s ends with %d %s", one->what, result, ErrorName(result));
  if (result == CUDA_SUCCESS && one->may_succeed) {
    Compare("device memory", expected, seen, kBytes);
  } else if (result != CUDA_ERROR_LAUNCH_FAILED) {
    Fail("CUDA_ERROR_LAUNCH_FAILED is right");
  }
}

int main(void) {
  for (int i = 0; i < kCases_count; ++i) RunInChild(Try, &kCases[i]);
  return 0;
}
