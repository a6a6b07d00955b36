// Copies memory to a GPU and back with NVIDIA's libcuda and compares: a context, one allocation for each
// size, cuMemcpyHtoD, cuMemcpyDtoH. Prints one line per step, so that the last line tells how far it came. It
// opens libcuda.so.1 at run time and declares what it uses itself, so that it builds without CUDA. Ends with
// 1 at the first call that fails or the first byte that differs.
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int CUresult;
typedef uint64_t CUdeviceptr;

// Around what libcuda treats differently: inline data, one chunk of its staging buffer, several.
static const size_t kSizes[] = {1, 3, 4, 511, 4096, 4097, 65536, 100003, 1 << 20, (1 << 20) + 1, 16 << 20};

// What surrounds the device-side copy of a buffer in the middle of an allocation.
enum { kMisalignment = 5 };

static void* library;

static void* Symbol(const char* name) {
  void* symbol = dlsym(library, name);
  if (symbol == NULL) {
    fprintf(stderr, "libcuda has no %s\n", name);
    exit(1);
  }
  return symbol;
}

static void Check(const char* step, CUresult result) {
  if (result != 0) {
    fprintf(stderr, "%s: error %d\n", step, result);
    exit(1);
  }
  printf("%s\n", step);
  fflush(stdout);
}

// Bytes that neither repeat with a power of two nor are the same for two sizes.
static void Fill(unsigned char* bytes, size_t size) {
  uint32_t state = (uint32_t)size * 2654435761u + 1;
  for (size_t i = 0; i < size; ++i) {
    state = state * 1664525u + 1013904223u;
    bytes[i] = (unsigned char)(state >> 24);
  }
}

static void RoundTrip(size_t size, size_t offset) {
  CUresult (*allocate)(CUdeviceptr*, size_t) = Symbol("cuMemAlloc_v2");
  CUresult (*release)(CUdeviceptr) = Symbol("cuMemFree_v2");
  CUresult (*to_device)(CUdeviceptr, const void*, size_t) = Symbol("cuMemcpyHtoD_v2");
  CUresult (*to_host)(void*, CUdeviceptr, size_t) = Symbol("cuMemcpyDtoH_v2");
  unsigned char* sent = malloc(size);
  unsigned char* received = calloc(1, size);
  CUdeviceptr device = 0;
  if (sent == NULL || received == NULL) exit(1);
  Fill(sent, size);
  printf("%zu bytes at offset %zu\n", size, offset);
  Check("cuMemAlloc", allocate(&device, size + offset));
  Check("cuMemcpyHtoD", to_device(device + offset, sent, size));
  Check("cuMemcpyDtoH", to_host(received, device + offset, size));
  for (size_t i = 0; i < size; ++i)
    if (sent[i] != received[i]) {
      fprintf(stderr, "byte %zu of %zu: sent 0x%02x, received 0x%02x\n", i, size, sent[i], received[i]);
      exit(1);
    }
  Check("cuMemFree", release(device));
  free(sent);
  free(received);
}

int main(void) {
  void* context = NULL;
  int device = -1;
  library = dlopen("libcuda.so.1", RTLD_NOW);
  if (library == NULL) {
    fprintf(stderr, "%s\n", dlerror());
    return 1;
  }
  CUresult (*init)(unsigned) = Symbol("cuInit");
  CUresult (*get)(int*, int) = Symbol("cuDeviceGet");
  CUresult (*create)(void**, unsigned, int) = Symbol("cuCtxCreate_v2");
  CUresult (*destroy)(void*) = Symbol("cuCtxDestroy_v2");
  Check("cuInit", init(0));
  Check("cuDeviceGet", get(&device, 0));
  Check("cuCtxCreate", create(&context, 0, device));
  for (size_t i = 0; i < sizeof(kSizes) / sizeof(kSizes[0]); ++i) {
    RoundTrip(kSizes[i], 0);
    RoundTrip(kSizes[i], kMisalignment);
  }
  Check("cuCtxDestroy", destroy(context));
  printf("all copies are equal\n");
  return 0;
}
