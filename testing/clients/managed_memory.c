// Law: managed memory is the host's own to read and write, before and after the GPU has it, and what is
// copied from it or to it is right, or fails with CUDA_ERROR_LAUNCH_FAILED where libcuda copies with a kernel
// of its own.
#include <string.h>

#include "testing/clients/cuda.h"

enum { kBytes = (3 << 20) + 5 };

static CUresult CopyFromIt(CUdeviceptr managed, unsigned char* host) {
  return cuMemcpyDtoH(host, managed, kBytes);
}

static CUresult CopyToIt(CUdeviceptr managed, unsigned char* host) {
  Fill(host, kBytes, 3);
  return cuMemcpyHtoD(managed, host, kBytes);
}

typedef struct {
  const char* what;
  CUresult (*copy)(CUdeviceptr managed, unsigned char* host);
} Case;

static const Case kCases[] = {{"a copy from managed memory", CopyFromIt},
                              {"a copy to managed memory", CopyToIt}};
enum { kCases_count = sizeof(kCases) / sizeof(kCases[0]) };

static void Try(const void* data) {
  const Case* one = data;
  CUcontext context = CreateFirstContext();
  CUdeviceptr managed = 0;
  unsigned char *expected = Allocate(kBytes), *host = AllocateZeros(kBytes);
  CHECK(cuMemAllocManaged(&managed, kBytes, CU_MEM_ATTACH_GLOBAL));
  unsigned char* seen = (unsigned char*)(uintptr_t)managed;
  for (int round = 0; round < 3; ++round) {
    Fill(expected, kBytes, round);
    memcpy(seen, expected, kBytes);
    CHECK(cuCtxSynchronize());
    Compare("managed memory", expected, seen, kBytes);
  }
  CUresult result = one->copy(managed, host);
  if (result == CUDA_SUCCESS) result = cuCtxSynchronize();
  Step("%s ends with %d %s", one->what, result, ErrorName(result));
  if (result == CUDA_SUCCESS) {
    Compare("host memory", seen, host, kBytes);
    CHECK(cuMemFree(managed));
    CHECK(cuCtxDestroy(context));
  } else if (result != CUDA_ERROR_LAUNCH_FAILED) {
    Fail("CUDA_ERROR_LAUNCH_FAILED is right");
  }
}

int main(void) {
  for (int i = 0; i < kCases_count; ++i) RunInChild(Try, &kCases[i]);
  Step("managed memory is right");
  return 0;
}
