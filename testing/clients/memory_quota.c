// Laws of a quota, given in MiB as the argument: cuMemGetInfo's total is the quota; when CUDA says that there
// is no more memory, more than nine tenths of it are in use, the context's own memory included; what is freed
// is free again and can be had again. Prints "holding <pid> <MiB>" when it has all that can be had, and keeps
// it until its standard input ends.
#include <stdio.h>
#include <unistd.h>

#include "testing/clients/cuda.h"

// Small enough to come near the quota, large enough to be there soon.
static const size_t kChunkBytes = (size_t)16 << 20;
enum { kChunksMax = 65536 };

static CUdeviceptr chunks[kChunksMax];

static size_t Free(size_t quota) {
  size_t free_now = 0, total = 0;
  CHECK(cuMemGetInfo(&free_now, &total));
  if (total != quota) Fail("the device has %zu bytes, the quota is %zu", total, quota);
  return free_now;
}

// Allocates until CUDA says that there is no more; returns how many chunks there were.
static size_t TakeAll(void) {
  for (size_t n = 0; n < kChunksMax; ++n) {
    const CUresult result = cuMemAlloc(&chunks[n], kChunkBytes);
    if (result == CUDA_ERROR_OUT_OF_MEMORY) return n;
    CHECK(result);
  }
  Fail("no end of memory after %d chunks", kChunksMax);
}

static void GiveBack(size_t count) {
  for (size_t n = 0; n < count; ++n) CHECK(cuMemFree(chunks[n]));
}

int main(int argc, char** argv) {
  const size_t quota = (size_t)(argc > 1 ? strtoull(argv[1], NULL, 10) : 0) << 20;
  CUcontext context = CreateFirstContext();
  const size_t free_before = Free(quota);
  Step("%zu of %zu bytes are free", free_before, quota);

  const size_t taken = TakeAll();
  const size_t free_full = Free(quota);
  if (taken * kChunkBytes > free_before) Fail("%zu chunks are allocated", taken);
  if (quota - free_full <= quota / 10 * 9) Fail("refused while %zu bytes are free", free_full);
  if (free_before - free_full != taken * kChunkBytes)
    Fail("%zu chunks are allocated, %zu bytes are free instead of %zu", taken, free_full, free_before);

  char byte;
  Step("holding %d %zu", (int)getpid(), (quota - free_full) >> 20);
  while (read(STDIN_FILENO, &byte, 1) > 0) {
  }

  GiveBack(taken);
  if (Free(quota) != free_before)
    Fail("%zu bytes are free after all is freed, %zu were", Free(quota), free_before);
  const size_t taken_again = TakeAll();
  if (taken_again != taken) Fail("%zu chunks can be had, %zu could", taken_again, taken);
  GiveBack(taken_again);
  CHECK(cuCtxDestroy(context));
  Step("the quota holds");
  return 0;
}
