// Fills the GPU's memory with NVIDIA's libcuda until CUDA says that there is no more, and checks the figures
// against each other: cuMemGetInfo's total is the quota given in MiB as the first argument; more than nine
// tenths of it are in use by then, the context's own memory included; what is freed can be had again, and
// cuMemGetInfo agrees on the way. Prints "holding <pid> <MiB>" while it holds the memory and waits for the
// end of its standard input before it gives it back. Ends with 1 at the first thing that is not so.
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

typedef int CUresult;
typedef uint64_t CUdeviceptr;

enum { kOutOfMemory = 2 };

// Small enough to come near the quota, large enough to be there soon.
#define CHUNK_BYTES ((size_t)16 << 20)
enum { kChunksMax = 65536 };

static void* library;
static CUdeviceptr chunks[kChunksMax];

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

static void Expect(int holds, const char* what, size_t got, size_t wanted) {
  if (holds) return;
  fprintf(stderr, "%s: %zu, compared with %zu\n", what, got, wanted);
  exit(1);
}

static size_t FreeBytes(size_t* total) {
  CUresult (*get_info)(size_t*, size_t*) = Symbol("cuMemGetInfo_v2");
  size_t free_bytes = 0;
  Check("cuMemGetInfo", get_info(&free_bytes, total));
  return free_bytes;
}

// Allocates until CUDA_ERROR_OUT_OF_MEMORY; returns how many chunks there were.
static size_t Fill(void) {
  CUresult (*allocate)(CUdeviceptr*, size_t) = Symbol("cuMemAlloc_v2");
  for (size_t n = 0; n < kChunksMax; ++n) {
    const CUresult result = allocate(&chunks[n], CHUNK_BYTES);
    if (result == kOutOfMemory) return n;
    Check("cuMemAlloc", result);
  }
  fprintf(stderr, "no end of memory after %d chunks\n", kChunksMax);
  exit(1);
}

static void Release(size_t count) {
  CUresult (*release)(CUdeviceptr) = Symbol("cuMemFree_v2");
  for (size_t n = 0; n < count; ++n) Check("cuMemFree", release(chunks[n]));
}

int main(int argc, char** argv) {
  const size_t quota = (size_t)(argc > 1 ? strtoull(argv[1], NULL, 10) : 0) << 20;
  size_t total = 0;
  void* context = NULL;
  int device = -1;
  char byte;
  library = dlopen("libcuda.so.1", RTLD_NOW);
  if (library == NULL) {
    fprintf(stderr, "%s\n", dlerror());
    return 1;
  }
  Check("cuInit", ((CUresult(*)(unsigned))Symbol("cuInit"))(0));
  Check("cuDeviceGet", ((CUresult(*)(int*, int))Symbol("cuDeviceGet"))(&device, 0));
  Check("cuCtxCreate", ((CUresult(*)(void**, unsigned, int))Symbol("cuCtxCreate_v2"))(&context, 0, device));

  const size_t free_before = FreeBytes(&total);
  printf("total %zu free %zu\n", total, free_before);
  Expect(total == quota, "cuMemGetInfo's total is not the quota", total, quota);
  const size_t first = Fill();
  Expect(first * CHUNK_BYTES <= free_before, "more than was free", first * CHUNK_BYTES, free_before);
  const size_t free_full = FreeBytes(&total);
  Expect(quota - free_full > quota / 10 * 9, "in use when refused", quota - free_full, quota);
  Expect(free_before - free_full == first * CHUNK_BYTES, "cuMemGetInfo's free went down by",
         free_before - free_full, first * CHUNK_BYTES);
  Expect(free_full < CHUNK_BYTES, "refused with this much free", free_full, CHUNK_BYTES);

  printf("holding %d %zu\n", (int)getpid(), (total - free_full) >> 20);
  fflush(stdout);
  while (read(0, &byte, 1) > 0) {
  }

  Release(first);
  Expect(FreeBytes(&total) == free_before, "free, after all was freed", FreeBytes(&total), free_before);
  const size_t second = Fill();
  Expect(second == first, "chunks at the second go", second, first);
  Release(second);
  Check("cuCtxDestroy", ((CUresult(*)(void*))Symbol("cuCtxDestroy_v2"))(context));
  printf("the quota holds\n");
  return 0;
}
