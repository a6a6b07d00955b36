// Measures what should cost the same with and without the broker, because no call is made: kernel launches,
// waits, and copies of pinned and pageable memory. Figures are the middle of many rounds.
#include <stdio.h>
#include <string.h>

#include "testing/gpu/programs/kit.h"

enum { kRounds = 21, kLaunches = 1000, kBytes = 64 << 20 };

static int Less(const void* left, const void* right) {
  const double a = *(const double*)left, b = *(const double*)right;
  return a < b ? -1 : a > b;
}

static double Middle(double* values) {
  qsort(values, kRounds, sizeof(values[0]), Less);
  return values[kRounds / 2];
}

static void MeasureLaunches(CUfunction nothing) {
  double queued[kRounds], waited[kRounds];
  for (int round = 0; round < kRounds; ++round) {
    double start = Now();
    for (int i = 0; i < kLaunches; ++i) CHECK(cuLaunchKernel(nothing, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL));
    queued[round] = (Now() - start) / kLaunches * 1e6;
    CHECK(cuCtxSynchronize());
    start = Now();
    for (int i = 0; i < kLaunches / 10; ++i) {
      CHECK(cuLaunchKernel(nothing, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL));
      CHECK(cuCtxSynchronize());
    }
    waited[round] = (Now() - start) / (kLaunches / 10) * 1e6;
  }
  Timing("launch", Middle(queued), "us");
  Timing("launch-and-wait", Middle(waited), "us");
}

static void MeasureCopies(const char* kind, unsigned char* host, CUdeviceptr device, size_t size) {
  double up[kRounds], down[kRounds];
  char name[64];
  for (int round = 0; round < kRounds; ++round) {
    double start = Now();
    CHECK(cuMemcpyHtoD(device, host, size));
    CHECK(cuCtxSynchronize());
    up[round] = size / (Now() - start) / 1e9;
    start = Now();
    CHECK(cuMemcpyDtoH(host, device, size));
    down[round] = size / (Now() - start) / 1e9;
  }
  snprintf(name, sizeof(name), "%s-to-device", kind);
  Timing(name, Middle(up), "GB/s");
  snprintf(name, sizeof(name), "%s-to-host", kind);
  Timing(name, Middle(down), "GB/s");
}

static void MeasureAllocations(void) {
  double times[kRounds];
  for (int round = 0; round < kRounds; ++round) {
    CUdeviceptr device = 0;
    const double start = Now();
    CHECK(cuMemAlloc(&device, 64 << 20));
    CHECK(cuMemFree(device));
    times[round] = (Now() - start) * 1e6;
  }
  Timing("allocate-and-free", Middle(times), "us");
}

int main(void) {
  const size_t size = kBytes;
  CUcontext context = StartKit();
  CUmodule module = LoadKernels();
  unsigned char *pageable = Allocate(size), *pinned = NULL;
  CUdeviceptr device = 0;
  Fill(pageable, size, 1);
  CHECK(cuMemAlloc(&device, size));
  CHECK(cuMemAllocHost((void**)&pinned, size));
  memcpy(pinned, pageable, size);
  MeasureLaunches(FindKernel(module, "nothing"));
  MeasureCopies("pinned", pinned, device, size);
  MeasureCopies("pageable", pageable, device, size);
  MeasureAllocations();
  CHECK(cuCtxDestroy(context));
  Step("measured");
  return 0;
}
