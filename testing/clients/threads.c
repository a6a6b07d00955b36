// Law: threads with a context each do not disturb one another: what each copies comes back equal, while
// others create and destroy contexts, streams and memory.
#include <pthread.h>
#include <string.h>

#include "testing/clients/cuda.h"

enum {
  kThreads = 8,
  kContexts = 2,  // one after the other, in each thread
  kCopies = 20,   // in each context
  kBytesMax = 1 << 20,
};

static pthread_barrier_t start;  // so that contexts are created at the same time

static void CopySome(uint64_t seed) {
  CUstream stream = NULL;
  unsigned char *sent = Allocate(kBytesMax), *received = Allocate(kBytesMax);
  CHECK(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
  for (int copy = 0; copy < kCopies; ++copy) {
    const size_t size = 1 + (seed * 7919 + copy * 104729) % kBytesMax;
    CUdeviceptr device = 0;
    CHECK(cuMemAlloc(&device, size));
    Fill(sent, size, seed + copy);
    memset(received, 0, size);
    CHECK(cuMemcpyHtoDAsync(device, sent, size, stream));
    CHECK(cuMemcpyDtoHAsync(received, device, size, stream));
    CHECK(cuStreamSynchronize(stream));
    Compare("the copy of a thread", sent, received, size);
    CHECK(cuMemFree(device));
  }
  CHECK(cuStreamDestroy(stream));
  free(sent);
  free(received);
}

static void* RunThread(void* number) {
  const int thread = (int)(intptr_t)number;
  CUdevice device = -1;
  CHECK(cuDeviceGet(&device, 0));
  pthread_barrier_wait(&start);
  for (int i = 0; i < kContexts; ++i) {
    CUcontext context = NULL;
    CHECK(cuCtxCreate(&context, 0, device));
    CopySome((uint64_t)(thread * kContexts + i) * 1000);
    CHECK(cuCtxDestroy(context));
    Step("thread %d: context %d of %d", thread, i + 1, kContexts);
  }
  return NULL;
}

int main(void) {
  pthread_t threads[kThreads];
  LoadCuda();
  CHECK(cuInit(0));
  if (pthread_barrier_init(&start, NULL, kThreads) != 0) Fail("no barrier");
  for (int i = 0; i < kThreads; ++i)
    if (pthread_create(&threads[i], NULL, RunThread, (void*)(intptr_t)i) != 0) Fail("no thread %d", i);
  for (int i = 0; i < kThreads; ++i) pthread_join(threads[i], NULL);
  Step("the copies of all threads are equal");
  return 0;
}
