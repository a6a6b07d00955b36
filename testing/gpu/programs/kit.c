// See kit.h.
#include "testing/gpu/programs/kit.h"

#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "testing/gpu/programs/kernels.h"

enum { kThreadsPerBlock = 256, kExitNotApplicable = 77, kJitLogBytes = 8192 };

#define KIT_DEFINE(name, symbol, parameters) CUresult(*name) parameters;
KIT_FUNCTIONS(KIT_DEFINE)
#undef KIT_DEFINE

static void* FindSymbol(void* library, const char* name) {
  void* symbol = dlsym(library, name);
  if (symbol == NULL) Fail("libcuda has no %s", name);
  return symbol;
}

CUcontext StartKit(void) {
  CUcontext context = CreateFirstContext();
  void* library = dlopen("libcuda.so.1", RTLD_NOW);
#define KIT_FIND(name, symbol, parameters) name = (CUresult(*) parameters)FindSymbol(library, #symbol);
  KIT_FUNCTIONS(KIT_FIND)
#undef KIT_FIND
  return context;
}

int Attribute(int attribute) {
  int value = 0;
  CHECK(cuDeviceGetAttribute(&value, attribute, 0));
  return value;
}

bool KernelsRun(void) {
  const char* kernels = getenv("NVSHIM_KIT_KERNELS");
  return kernels == NULL || strcmp(kernels, "skipped") != 0;
}

// FNV-1a: short, and any changed byte shows.
static uint64_t Checksum(const unsigned char* bytes, size_t size) {
  uint64_t sum = 0xcbf29ce484222325;
  for (size_t i = 0; i < size; ++i) sum = (sum ^ bytes[i]) * 0x100000001b3;
  return sum;
}

void Result(const char* what, const void* bytes, size_t size) {
  if (KernelsRun())
    Step("%s: %016llx", what, (unsigned long long)Checksum(bytes, size));
  else
    Step("%s: not looked at, kernels do not run here", what);
}

void CompareResult(const char* what, const void* expected, const void* actual, size_t size) {
  if (KernelsRun()) Compare(what, expected, actual, size);
}

void Timing(const char* name, double value, const char* unit) {
  fprintf(stderr, "timing %s %.9g %s\n", name, value, unit);
}

double Now(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec + now.tv_nsec * 1e-9;
}

void NotApplicable(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  printf("not applicable: ");
  vprintf(format, arguments);
  va_end(arguments);
  printf("\n");
  fflush(stdout);
  _Exit(kExitNotApplicable);
}

CUmodule LoadKernels(void) {
  char log[kJitLogBytes] = "";
  int options[] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
  void* values[] = {log, (void*)(uintptr_t)sizeof(log)};
  CUmodule module = NULL;
  const CUresult result = cuModuleLoadDataEx(&module, kKernels, 2, options, values);
  if (result != CUDA_SUCCESS) Fail("the kernels do not load: %d %s: %s", result, ErrorName(result), log);
  return module;
}

CUfunction FindKernel(CUmodule module, const char* name) {
  CUfunction function = NULL;
  CHECK(cuModuleGetFunction(&function, module, name));
  return function;
}

void Launch(CUfunction kernel, uint32_t count, CUstream stream, void** parameters) {
  const uint32_t blocks = (count + kThreadsPerBlock - 1) / kThreadsPerBlock;
  CHECK(cuLaunchKernel(kernel, blocks, 1, 1, kThreadsPerBlock, 1, 1, 0, stream, parameters, NULL));
}

uint32_t Mixed(uint32_t value, uint32_t rounds) {
  for (uint32_t i = 0; i < rounds; ++i) value = value * 1664525 + 1013904223;
  return value;
}
