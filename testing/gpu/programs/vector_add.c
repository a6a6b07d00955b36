// Law: a kernel that adds two vectors writes what the host computes, to the last bit, for counts that fill
// their blocks and counts that do not.
#include "testing/gpu/programs/kit.h"

static const uint32_t kCounts[] = {1, 255, 256, 257, 100003, 1 << 22};
enum { kCounts_count = sizeof(kCounts) / sizeof(kCounts[0]), kCountMax = 1 << 22 };

int main(void) {
  CUcontext context = StartKit();
  CUmodule module = LoadKernels();
  CUfunction add = FindKernel(module, "vector_add");
  const size_t whole = (size_t)kCountMax * sizeof(float);
  float *left = (float*)Allocate(whole), *right = (float*)Allocate(whole);
  float *expected = (float*)Allocate(whole), *sum = (float*)Allocate(whole);
  CUdeviceptr device_left = 0, device_right = 0, device_sum = 0;
  CHECK(cuMemAlloc(&device_left, whole));
  CHECK(cuMemAlloc(&device_right, whole));
  CHECK(cuMemAlloc(&device_sum, whole));
  for (int i = 0; i < kCounts_count; ++i) {
    uint32_t count = kCounts[i];
    const size_t size = count * sizeof(float);
    for (uint32_t j = 0; j < count; ++j) {
      left[j] = (float)j * 0.37f;
      right[j] = (float)(count - j) / 3.0f;
      expected[j] = left[j] + right[j];
    }
    CHECK(cuMemcpyHtoD(device_left, left, size));
    CHECK(cuMemcpyHtoD(device_right, right, size));
    void* parameters[] = {&device_left, &device_right, &device_sum, &count};
    Launch(add, count, NULL, parameters);
    CHECK(cuMemcpyDtoH(sum, device_sum, size));
    CompareResult("the sum", expected, sum, size);
    Step("%u items", count);
    Result("the sum", sum, size);
  }
  CHECK(cuModuleUnload(module));
  CHECK(cuCtxDestroy(context));
  return 0;
}
