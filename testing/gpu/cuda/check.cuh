// What the CUDA C++ programs of the kit share: errors, checksums, and data that is the same in every run. Compiled
// by run.py on the machine with the GPU, with whatever nvcc is there.
#ifndef TESTING_GPU_CUDA_CHECK_CUH_
#define TESTING_GPU_CUDA_CHECK_CUH_

#include <cuda_runtime.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

// Ends the program unless `call` succeeds: with 77 where the runtime library is newer than the driver.
#define CHECK(call)                                                                                 \
  do {                                                                                              \
    const cudaError_t result = (call);                                                              \
    if (result == cudaErrorInsufficientDriver) {                                                    \
      std::printf("not applicable: this nvcc's runtime library is newer than the driver\n");        \
      std::exit(77);                                                                                \
    }                                                                                               \
    if (result != cudaSuccess) {                                                                    \
      std::fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #call, cudaGetErrorName(result)); \
      std::exit(1);                                                                                 \
    }                                                                                               \
  } while (false)

// FNV-1a of all bytes of `values`.
template <typename T>
uint64_t Checksum(const std::vector<T>& values) {
  const auto* bytes = reinterpret_cast<const unsigned char*>(values.data());
  uint64_t sum = 0xcbf29ce484222325;
  for (size_t i = 0; i < values.size() * sizeof(T); ++i) sum = (sum ^ bytes[i]) * 0x100000001b3;
  return sum;
}

// Numbers between -1 and 1 from a fixed linear congruence.
template <typename T>
std::vector<T> Numbers(size_t count, uint32_t seed) {
  std::vector<T> values(count);
  for (T& value : values) {
    seed = seed * 1664525 + 1013904223;
    value = static_cast<T>(static_cast<int32_t>(seed)) / static_cast<T>(2147483648.0);
  }
  return values;
}

#endif  // TESTING_GPU_CUDA_CHECK_CUH_
