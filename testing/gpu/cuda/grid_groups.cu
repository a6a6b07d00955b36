// Law: threads of a whole grid wait for each other with cooperative groups: a prefix sum that needs log2(n) waits is
// right.
#include <cooperative_groups.h>

#include <utility>

#include "check.cuh"

namespace {

constexpr int kThreads = 256;

__global__ void PrefixSum(uint32_t* from, uint32_t* to, uint32_t count) {
  auto grid = cooperative_groups::this_grid();
  const uint32_t item = blockIdx.x * blockDim.x + threadIdx.x;
  for (uint32_t distance = 1; distance < count; distance *= 2) {
    to[item] = item >= distance ? from[item] + from[item - distance] : from[item];
    grid.sync();
    uint32_t* other = from;
    from = to;
    to = other;
  }
}

}  // namespace

int main() {
  int cooperative = 0, processors = 0, blocks_each = 0;
  CHECK(cudaDeviceGetAttribute(&cooperative, cudaDevAttrCooperativeLaunch, 0));
  if (!cooperative) {
    std::printf("not applicable: the GPU has no cooperative launches\n");
    return 77;
  }
  CHECK(cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, 0));
  CHECK(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks_each, PrefixSum, kThreads, 0));
  uint32_t count = static_cast<uint32_t>(processors * blocks_each * kThreads);
  std::vector<uint32_t> values(count), expected(count);
  for (uint32_t i = 0, sum = 0; i < count; ++i) {
    values[i] = i % 1000;
    expected[i] = sum += values[i];
  }
  uint32_t *from, *to;
  CHECK(cudaMalloc(&from, count * sizeof(uint32_t)));
  CHECK(cudaMalloc(&to, count * sizeof(uint32_t)));
  CHECK(cudaMemcpy(from, values.data(), count * sizeof(uint32_t), cudaMemcpyHostToDevice));
  void* parameters[] = {&from, &to, &count};
  CHECK(cudaLaunchCooperativeKernel(reinterpret_cast<void*>(PrefixSum), dim3(count / kThreads), dim3(kThreads),
                                    parameters, 0, nullptr));
  CHECK(cudaDeviceSynchronize());
  int waits = 0;
  for (uint32_t distance = 1; distance < count; distance *= 2) ++waits;
  CHECK(cudaMemcpy(values.data(), waits % 2 ? to : from, count * sizeof(uint32_t), cudaMemcpyDeviceToHost));
  if (values != expected) {
    std::fprintf(stderr, "the sums are wrong\n");
    return 1;
  }
  std::printf("%u items, %d waits: %016llx\n", count, waits, static_cast<unsigned long long>(Checksum(values)));
  return 0;
}
