// Laws, of the runtime library: memory from the stream-ordered pool, kernels and copies captured into a graph give
// the same as when they are called one by one.
#include "check.cuh"

namespace {

constexpr uint32_t kItems = 1 << 20;
constexpr size_t kSize = kItems * sizeof(uint32_t);
constexpr int kLaunches = 10;

__global__ void Mix(uint32_t* values, uint32_t rounds) {
  const uint32_t item = blockIdx.x * blockDim.x + threadIdx.x;
  uint32_t value = values[item];
  for (uint32_t i = 0; i < rounds; ++i) value = value * 1664525 + 1013904223;
  values[item] = value;
}

// What one launch of the graph does, as calls.
void Enqueue(cudaStream_t stream, uint32_t* device, uint32_t* host) {
  CHECK(cudaMemcpyAsync(device, host, kSize, cudaMemcpyHostToDevice, stream));
  Mix<<<kItems / 256, 256, 0, stream>>>(device, 3);
  CHECK(cudaMemcpyAsync(host, device, kSize, cudaMemcpyDeviceToHost, stream));
}

}  // namespace

int main() {
  uint32_t *host, *device;
  cudaStream_t stream;
  CHECK(cudaMallocHost(&host, kSize));
  CHECK(cudaStreamCreate(&stream));
  CHECK(cudaMallocAsync(&device, kSize, stream));
  for (uint32_t i = 0; i < kItems; ++i) host[i] = i;
  for (int i = 0; i < kLaunches; ++i) Enqueue(stream, device, host);
  CHECK(cudaStreamSynchronize(stream));
  const std::vector<uint32_t> called(host, host + kItems);

  cudaGraph_t graph;
  cudaGraphExec_t executable;
  CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
  Enqueue(stream, device, host);
  CHECK(cudaStreamEndCapture(stream, &graph));
  CHECK(cudaGraphInstantiateWithFlags(&executable, graph, 0));
  for (uint32_t i = 0; i < kItems; ++i) host[i] = i;
  for (int i = 0; i < kLaunches; ++i) CHECK(cudaGraphLaunch(executable, stream));
  CHECK(cudaStreamSynchronize(stream));
  const std::vector<uint32_t> launched(host, host + kItems);
  if (launched != called) {
    std::fprintf(stderr, "the graph gives something else than its calls\n");
    return 1;
  }
  std::printf("%d launches: %016llx\n", kLaunches, static_cast<unsigned long long>(Checksum(launched)));
  CHECK(cudaGraphExecDestroy(executable));
  CHECK(cudaGraphDestroy(graph));
  CHECK(cudaFreeAsync(device, stream));
  CHECK(cudaStreamSynchronize(stream));
  CHECK(cudaStreamDestroy(stream));
  CHECK(cudaFreeHost(host));
  return 0;
}
