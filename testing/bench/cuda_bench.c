// What a program that uses libcuda meets: the inner part of the benchmarks, a guest of a private broker.
// Prints JSON lines {name, value, unit, peer, peer_value, ratio}; medians, a peer measured in turns with its
// subject.
//   cuda_bench start    cuInit and cuCtxCreate, each after a line on standard input; then it keeps the
//   context
//                       until standard input is closed. Prints milliseconds.
//   cuda_bench once     a context, one copy to the GPU and back, and the end
//   cuda_bench copies   how fast copies are, beside memcpy
//   cuda_bench waits    how long a copy takes until a wait for it returns: asleep, beside spinning
// --quick after the name: fewer rounds.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "testing/clients/cuda.h"

enum { kRoundsMax = 1000, kKiB = 1 << 10, kMiB = 1 << 20 };

static int quick;

static double Now(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static int Ascending(const void* left, const void* right) {
  const double a = *(const double*)left;
  const double b = *(const double*)right;
  return (a > b) - (a < b);
}

static double Median(double* seconds, int count) {
  qsort(seconds, (size_t)count, sizeof(*seconds), Ascending);
  return seconds[count / 2];
}

static void Report(const char* name, double value, const char* unit, const char* peer, double peer_value) {
  Step("{\"name\":\"%s\",\"value\":%.3f,\"unit\":\"%s\",\"peer\":\"%s\",\"peer_value\":%.3f,\"ratio\":%.3f}",
       name, value, unit, peer, peer_value, value / peer_value);
}

static void AwaitLine(void) {
  char line[16];
  if (fgets(line, sizeof(line), stdin) == NULL) exit(0);
}

// ---- start, once -----------------------------------------------------------------------------------------

static atomic_long ioctls, ioctl_nanoseconds;

// A program's own symbols come before those of its libraries: libcuda calls this one, and this one the
// shim's.
int ioctl(int fd, unsigned long request, void* argument) {
  int (*next)(int, unsigned long, void*) = dlsym(RTLD_NEXT, "ioctl");
  const double start = Now();
  const int result = next(fd, request, argument);
  atomic_fetch_add(&ioctl_nanoseconds, (long)((Now() - start) * 1e9));
  atomic_fetch_add(&ioctls, 1);
  return result;
}

static void StepSince(double start) {
  Step("%.3f %ld %.3f", (Now() - start) * 1e3, atomic_exchange(&ioctls, 0),
       (double)atomic_exchange(&ioctl_nanoseconds, 0) * 1e-6);
}

static void Start(void) {
  CUcontext context = NULL;
  CUdevice device = -1;
  LoadCuda();
  AwaitLine();
  double start = Now();
  CHECK(cuInit(0));
  StepSince(start);
  AwaitLine();
  CHECK(cuDeviceGet(&device, 0));
  start = Now();
  CHECK(cuCtxCreate(&context, 0, device));
  StepSince(start);
  AwaitLine();
}

static void Once(void) {
  CUcontext context = CreateFirstContext();
  unsigned char* sent = Allocate(kMiB);
  unsigned char* received = AllocateZeros(kMiB);
  CUdeviceptr memory = 0;
  Fill(sent, kMiB, 1);
  CHECK(cuMemAlloc(&memory, kMiB));
  CHECK(cuMemcpyHtoD(memory, sent, kMiB));
  CHECK(cuMemcpyDtoH(received, memory, kMiB));
  Compare("the copy", sent, received, kMiB);
  CHECK(cuCtxDestroy(context));
}

// ---- copies ----------------------------------------------------------------------------------------------

static const struct {
  const char* name;
  size_t size;
  int rounds;
} kCopies[] = {
    {"64 KiB", 64 * kKiB, 400}, {"1 MiB", kMiB, 200}, {"64 MiB", 64 * kMiB, 15}, {"256 MiB", 256 * kMiB, 7}};

static void MeasureCopies(const char* kind, unsigned char* host, size_t index) {
  static double up[kRoundsMax], down[kRoundsMax], peer[kRoundsMax];
  const size_t size = kCopies[index].size;
  const int rounds = quick ? 1 + kCopies[index].rounds / 10 : kCopies[index].rounds;
  unsigned char* other = AllocateZeros(size);
  CUdeviceptr memory = 0;
  char name[64];
  CHECK(cuMemAlloc(&memory, size));
  for (int round = -1; round < rounds; ++round) {  // the first one brings pages in and does not count
    const int at = round < 0 ? 0 : round;
    Fill(host, 64, (uint64_t)round);
    double start = Now();
    memcpy(other, host, size);
    peer[at] = Now() - start;
    start = Now();
    CHECK(cuMemcpyHtoD(memory, host, size));
    up[at] = Now() - start;
    start = Now();
    CHECK(cuMemcpyDtoH(host, memory, size));
    down[at] = Now() - start;
    Compare("the copy", other, host, size);
  }
  CHECK(cuMemFree(memory));
  free(other);
  const double gigabytes = (double)size * 1e-9;
  const double peer_rate = gigabytes / Median(peer, rounds);
  snprintf(name, sizeof(name), "HtoD %s, %s", kind, kCopies[index].name);
  Report(name, gigabytes / Median(up, rounds), "GB/s", "memcpy", peer_rate);
  snprintf(name, sizeof(name), "DtoH %s, %s", kind, kCopies[index].name);
  Report(name, gigabytes / Median(down, rounds), "GB/s", "memcpy", peer_rate);
}

static void Copies(void) {
  CUcontext context = CreateFirstContext();
  for (size_t i = 0; i < sizeof(kCopies) / sizeof(kCopies[0]); ++i) {
    void* pinned = NULL;
    unsigned char* pageable = Allocate(kCopies[i].size);
    CHECK(cuMemAllocHost(&pinned, kCopies[i].size));
    Fill(pinned, kCopies[i].size, i);
    Fill(pageable, kCopies[i].size, i);
    MeasureCopies("pinned", pinned, i);
    MeasureCopies("pageable", pageable, i);
    CHECK(cuMemFreeHost(pinned));
    free(pageable);
  }
  CHECK(cuCtxDestroy(context));
}

// ---- waits -----------------------------------------------------------------------------------------------

// From the submission of a copy until the wait for the event behind it returns.
static double CopyAndWait(CUdeviceptr memory, const void* pinned, size_t size, CUevent event) {
  const double start = Now();
  CHECK(cuMemcpyHtoDAsync(memory, pinned, size, NULL));
  CHECK(cuEventRecord(event, NULL));
  CHECK(cuEventSynchronize(event));
  return Now() - start;
}

static void MeasureWaits(const char* name, size_t size) {
  static double asleep[kRoundsMax], spinning[kRoundsMax];
  const int rounds = quick ? 20 : 100;
  CUdeviceptr memory = 0;
  void* pinned = NULL;
  CUevent blocking = NULL;
  CUevent spin = NULL;
  CHECK(cuMemAlloc(&memory, size));
  CHECK(cuMemAllocHost(&pinned, size));
  CHECK(cuEventCreate(&blocking, CU_EVENT_BLOCKING_SYNC | CU_EVENT_DISABLE_TIMING));
  CHECK(cuEventCreate(&spin, CU_EVENT_DISABLE_TIMING));
  CopyAndWait(memory, pinned, size, spin);
  for (int round = 0; round < rounds; ++round) {
    asleep[round] = CopyAndWait(memory, pinned, size, blocking) * 1e6;
    spinning[round] = CopyAndWait(memory, pinned, size, spin) * 1e6;
  }
  Report(name, Median(asleep, rounds), "us", "spinning", Median(spinning, rounds));
  CHECK(cuEventDestroy(spin));
  CHECK(cuEventDestroy(blocking));
  CHECK(cuMemFreeHost(pinned));
  CHECK(cuMemFree(memory));
}

static void Waits(void) {
  CUcontext context = CreateFirstContext();
  MeasureWaits("copy and blocking wait, 4 KiB", 4 * kKiB);
  MeasureWaits("copy and blocking wait, 16 MiB", 16 * kMiB);
  CHECK(cuCtxDestroy(context));
}

int main(int argc, char** argv) {
  static const struct {
    const char* name;
    void (*run)(void);
  } kParts[] = {{"start", Start}, {"once", Once}, {"copies", Copies}, {"waits", Waits}};
  quick = argc == 3 && strcmp(argv[2], "--quick") == 0;
  for (size_t i = 0; i < sizeof(kParts) / sizeof(kParts[0]); ++i)
    if (argc >= 2 && argc == 2 + quick && strcmp(argv[1], kParts[i].name) == 0) {
      kParts[i].run();
      return 0;
    }
  fprintf(stderr, "usage: cuda_bench start|once|copies|waits [--quick]\n");
  return 2;
}
