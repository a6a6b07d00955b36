// Laws: a graph that is built node by node, and one that is captured from two streams, do what their nodes
// say, in the order of their edges, each time they are launched.
#include <string.h>

#include "testing/gpu/programs/kit.h"

enum { kItems = 1 << 20, kRounds = 5, kLaunches = 20, kThreads = 256 };
static const size_t kSize = kItems * sizeof(uint32_t);

// touch(+1), then mix: the order matters, because (x + 1) mixed is not x mixed + 1.
static uint32_t Expected(uint32_t value) {
  for (int i = 0; i < kLaunches; ++i) value = Mixed(value + 1, kRounds);
  return value;
}

static void CheckItems(const char* what, const uint32_t* values) {
  for (uint32_t i = 0; i < kItems; i += 997) {
    const uint32_t expected = Expected(i);
    CompareResult(what, &expected, &values[i], sizeof(expected));
  }
  Result(what, values, kSize);
}

static CUgraph Build(CUfunction touch, CUfunction mix, CUdeviceptr* device) {
  static uint32_t count = kItems, step = 1, rounds = kRounds;
  void* touch_parameters[] = {device, &count, &step};
  void* mix_parameters[] = {device, &count, &rounds};
  CUDA_KERNEL_NODE_PARAMS node = {touch, kItems / kThreads, 1, 1, kThreads, 1, 1, 0, touch_parameters, NULL};
  CUgraph graph = NULL;
  CUgraphNode first = NULL, second = NULL;
  CHECK(cuGraphCreate(&graph, 0));
  CHECK(cuGraphAddKernelNode(&first, graph, NULL, 0, &node));
  node.func = mix;
  node.kernelParams = mix_parameters;
  CHECK(cuGraphAddKernelNode(&second, graph, &first, 1, &node));
  return graph;
}

// The second stream comes into the capture by an event and leaves it by another. Copies take part.
static CUgraph Capture(CUfunction touch, CUfunction mix, CUdeviceptr* device, uint32_t* host) {
  uint32_t count = kItems, step = 1, rounds = kRounds;
  void* touch_parameters[] = {device, &count, &step};
  void* mix_parameters[] = {device, &count, &rounds};
  CUstream one = NULL, other = NULL;
  CUevent there = NULL, back = NULL;
  CUgraph graph = NULL;
  CHECK(cuStreamCreate(&one, CU_STREAM_NON_BLOCKING));
  CHECK(cuStreamCreate(&other, CU_STREAM_NON_BLOCKING));
  CHECK(cuEventCreate(&there, CU_EVENT_DISABLE_TIMING));
  CHECK(cuEventCreate(&back, CU_EVENT_DISABLE_TIMING));
  CHECK(cuStreamBeginCapture(one, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));
  CHECK(cuMemcpyHtoDAsync(*device, host, kSize, one));
  Launch(touch, kItems, one, touch_parameters);
  CHECK(cuEventRecord(there, one));
  CHECK(cuStreamWaitEvent(other, there, 0));
  Launch(mix, kItems, other, mix_parameters);
  CHECK(cuEventRecord(back, other));
  CHECK(cuStreamWaitEvent(one, back, 0));
  CHECK(cuMemcpyDtoHAsync(host, *device, kSize, one));
  CHECK(cuStreamEndCapture(one, &graph));
  CHECK(cuEventDestroy(there));
  CHECK(cuEventDestroy(back));
  CHECK(cuStreamDestroy(one));
  CHECK(cuStreamDestroy(other));
  return graph;
}

static void LaunchMany(CUgraph graph, CUstream stream) {
  CUgraphExec executable = NULL;
  CHECK(cuGraphInstantiate(&executable, graph, 0));
  for (int i = 0; i < kLaunches; ++i) CHECK(cuGraphLaunch(executable, stream));
  CHECK(cuStreamSynchronize(stream));
  CHECK(cuGraphExecDestroy(executable));
  CHECK(cuGraphDestroy(graph));
}

int main(void) {
  CUcontext context = StartKit();
  CUmodule module = LoadKernels();
  CUfunction touch = FindKernel(module, "touch"), mix = FindKernel(module, "mix");
  CUstream stream = NULL;
  CUdeviceptr device = 0;
  uint32_t* values = NULL;
  CHECK(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
  CHECK(cuMemAlloc(&device, kSize));
  CHECK(cuMemAllocHost((void**)&values, kSize));
  for (uint32_t i = 0; i < kItems; ++i) values[i] = i;
  CHECK(cuMemcpyHtoD(device, values, kSize));
  CHECK(cuCtxSynchronize());
  LaunchMany(Build(touch, mix, &device), stream);
  CHECK(cuMemcpyDtoH(values, device, kSize));
  CheckItems("a graph of nodes", values);

  for (uint32_t i = 0; i < kItems; ++i) values[i] = i;
  LaunchMany(Capture(touch, mix, &device, values), stream);
  CheckItems("a captured graph", values);
  CHECK(cuCtxDestroy(context));
  return 0;
}
