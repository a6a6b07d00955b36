// Asks the simulated GPU for what needs a program on the shader cores: a large memset, which libcuda does
// with a kernel of its own. It must end with an error that CUDA reports, never with memory that looks set.
// Prints the error; ends with 1 when there was none.
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

typedef int CUresult;
typedef uint64_t CUdeviceptr;

enum { CUDA_ERROR_LAUNCH_FAILED = 719, SIZE = 1 << 20 };

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
  if (result == 0) return;
  fprintf(stderr, "%s: error %d\n", step, result);
  exit(1);
}

int main(void) {
  void* context = NULL;
  int device = -1;
  CUdeviceptr memory = 0;
  library = dlopen("libcuda.so.1", RTLD_NOW);
  if (library == NULL) {
    fprintf(stderr, "%s\n", dlerror());
    return 1;
  }
  CUresult (*init)(unsigned) = Symbol("cuInit");
  CUresult (*get)(int*, int) = Symbol("cuDeviceGet");
  CUresult (*create)(void**, unsigned, int) = Symbol("cuCtxCreate_v2");
  CUresult (*allocate)(CUdeviceptr*, size_t) = Symbol("cuMemAlloc_v2");
  CUresult (*set)(CUdeviceptr, unsigned char, size_t) = Symbol("cuMemsetD8_v2");
  CUresult (*synchronize)(void) = Symbol("cuCtxSynchronize");
  Check("cuInit", init(0));
  Check("cuDeviceGet", get(&device, 0));
  Check("cuCtxCreate", create(&context, 0, device));
  Check("cuMemAlloc", allocate(&memory, SIZE));
  CUresult result = set(memory, 7, SIZE);
  if (result == 0) result = synchronize();
  printf("a kernel ends with error %d\n", result);
  return result == CUDA_ERROR_LAUNCH_FAILED ? 0 : 1;
}
