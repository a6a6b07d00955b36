// Waits that sleep: for an event made with CU_EVENT_BLOCKING_SYNC, for a stream and for a context, in a
// context made with CU_CTX_SCHED_BLOCKING_SYNC. Laws: a wait returns, not before the copy that it is for is
// done, and leaves nothing to be done. Prints how long a copy and its wait took in the middle of all rounds,
// beside asking until it is done: a GPU whose interrupts do not arrive shows there, at the 100 ms after which
// libcuda looks for itself. usage: blocking_waits [ROUNDS]. Ends with 1 where a law does not hold.
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef int CUresult;
typedef uint64_t CUdeviceptr;

enum {
  CUDA_ERROR_NOT_READY = 600,
  CU_CTX_SCHED_BLOCKING_SYNC = 4,
  CU_EVENT_BLOCKING_SYNC = 1,
  CU_EVENT_DISABLE_TIMING = 2,
  CU_STREAM_NON_BLOCKING = 1,
};
enum { kBytes = 4 << 20, kRoundsDefault = 20, kRoundsMax = 100000 };

static void* library;
static void *stream, *event;

static void* Symbol(const char* name) {
  void* symbol = dlsym(library, name);
  if (symbol == NULL) {
    fprintf(stderr, "libcuda has no %s\n", name);
    exit(1);
  }
  return symbol;
}

static void Check(const char* step, CUresult result) {
  if (result == 0) return;
  fprintf(stderr, "%s: error %d\n", step, result);
  exit(1);
}

static CUresult AskForEvent(void) {
  CUresult (*query)(void*) = Symbol("cuEventQuery");
  CUresult result;
  while ((result = query(event)) == CUDA_ERROR_NOT_READY) {
  }
  return result;
}
static CUresult WaitForEvent(void) {
  CUresult (*wait)(void*) = Symbol("cuEventSynchronize");
  return wait(event);
}
static CUresult WaitForStream(void) {
  CUresult (*wait)(void*) = Symbol("cuStreamSynchronize");
  return wait(stream);
}
static CUresult WaitForContext(void) {
  CUresult (*wait)(void) = Symbol("cuCtxSynchronize");
  return wait();
}

static double NowUs(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static int Compare(const void* a, const void* b) {
  const double left = *(const double*)a, right = *(const double*)b;
  return (left > right) - (left < right);
}

// Copies to the device and back, and waits; the last byte sent says which round it was.
static void Run(const char* name, CUresult (*wait)(void), int rounds, CUdeviceptr device, unsigned char* sent,
                unsigned char* received) {
  CUresult (*to_device)(CUdeviceptr, const void*, size_t, void*) = Symbol("cuMemcpyHtoDAsync_v2");
  CUresult (*to_host)(void*, CUdeviceptr, size_t, void*) = Symbol("cuMemcpyDtoHAsync_v2");
  CUresult (*record)(void*, void*) = Symbol("cuEventRecord");
  CUresult (*query)(void*) = Symbol("cuStreamQuery");
  double* took_us = calloc((size_t)rounds, sizeof(*took_us));
  if (took_us == NULL) exit(1);
  for (int round = 0; round < rounds; ++round) {
    sent[kBytes - 1] = (unsigned char)(round + 1);
    received[kBytes - 1] = (unsigned char)round;
    const double start_us = NowUs();
    Check("cuMemcpyHtoDAsync", to_device(device, sent, kBytes, stream));
    Check("cuMemcpyDtoHAsync", to_host(received, device, kBytes, stream));
    Check("cuEventRecord", record(event, stream));
    Check(name, wait());
    took_us[round] = NowUs() - start_us;
    if (received[kBytes - 1] != sent[kBytes - 1]) {
      fprintf(stderr, "%s returns before the copy is done\n", name);
      exit(1);
    }
    Check("cuStreamQuery after a wait", query(stream));
  }
  qsort(took_us, (size_t)rounds, sizeof(*took_us), Compare);
  printf("%-20s median of %d: %.0f us\n", name, rounds, took_us[rounds / 2]);
  fflush(stdout);
  free(took_us);
}

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? atoi(argv[1]) : kRoundsDefault;
  void* context = NULL;
  CUdeviceptr device = 0;
  unsigned char *sent = NULL, *received = NULL;
  if (rounds < 1 || rounds > kRoundsMax) return 1;
  library = dlopen("libcuda.so.1", RTLD_NOW);
  if (library == NULL) {
    fprintf(stderr, "%s\n", dlerror());
    return 1;
  }
  CUresult (*init)(unsigned) = Symbol("cuInit");
  CUresult (*create)(void**, unsigned, int) = Symbol("cuCtxCreate_v2");
  CUresult (*destroy)(void*) = Symbol("cuCtxDestroy_v2");
  CUresult (*create_stream)(void**, unsigned) = Symbol("cuStreamCreate");
  CUresult (*create_event)(void**, unsigned) = Symbol("cuEventCreate");
  CUresult (*allocate)(CUdeviceptr*, size_t) = Symbol("cuMemAlloc_v2");
  CUresult (*allocate_host)(unsigned char**, size_t) = Symbol("cuMemAllocHost_v2");
  Check("cuInit", init(0));
  const double start_us = NowUs();
  Check("cuCtxCreate", create(&context, CU_CTX_SCHED_BLOCKING_SYNC, 0));
  printf("cuCtxCreate took %.0f ms\n", (NowUs() - start_us) / 1e3);
  Check("cuStreamCreate", create_stream(&stream, CU_STREAM_NON_BLOCKING));
  Check("cuEventCreate", create_event(&event, CU_EVENT_BLOCKING_SYNC | CU_EVENT_DISABLE_TIMING));
  Check("cuMemAlloc", allocate(&device, kBytes));
  Check("cuMemAllocHost", allocate_host(&sent, kBytes));
  Check("cuMemAllocHost", allocate_host(&received, kBytes));
  memset(sent, 0x5a, kBytes);
  Run("cuEventQuery", AskForEvent, rounds, device, sent, received);
  Run("cuEventSynchronize", WaitForEvent, rounds, device, sent, received);
  Run("cuStreamSynchronize", WaitForStream, rounds, device, sent, received);
  Run("cuCtxSynchronize", WaitForContext, rounds, device, sent, received);
  if (memcmp(sent, received, kBytes) != 0) {
    fprintf(stderr, "what came back differs\n");
    return 1;
  }
  Check("cuCtxDestroy", destroy(context));
  printf("all waits returned\n");
  return 0;
}
