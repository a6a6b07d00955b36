// See cuda.h.
#include "testing/clients/cuda.h"

#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define CUDA_DEFINE(name, symbol, parameters) CUresult(*name) parameters;
CUDA_FUNCTIONS(CUDA_DEFINE)
#undef CUDA_DEFINE

static void* FindSymbol(void* library, const char* name) {
  void* symbol = dlsym(library, name);
  if (symbol == NULL) Fail("libcuda has no %s", name);
  return symbol;
}

void LoadCuda(void) {
  void* library = dlopen("libcuda.so.1", RTLD_NOW);
  if (library == NULL) Fail("%s", dlerror());
#define CUDA_FIND(name, symbol, parameters) name = (CUresult(*) parameters)FindSymbol(library, #symbol);
  CUDA_FUNCTIONS(CUDA_FIND)
#undef CUDA_FIND
}

CUcontext CreateFirstContext(void) {
  CUcontext context = NULL;
  CUdevice device = -1;
  LoadCuda();
  CHECK(cuInit(0));
  CHECK(cuDeviceGet(&device, 0));
  CHECK(cuCtxCreate(&context, 0, device));
  return context;
}

void Step(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  flockfile(stdout);
  vprintf(format, arguments);
  putchar('\n');
  fflush(stdout);
  funlockfile(stdout);
  va_end(arguments);
}

void Fail(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  flockfile(stderr);
  vfprintf(stderr, format, arguments);
  fputc('\n', stderr);
  _Exit(1);  // not exit: libcuda's destructors may wait for what has just failed
}

void RunInChild(void (*work)(const void* data), const void* data) {
  int status = 0;
  const pid_t pid = fork();
  if (pid < 0) Fail("no child process");
  if (pid == 0) {
    work(data);
    exit(0);
  }
  if (waitpid(pid, &status, 0) != pid || status != 0) Fail("the child process ends with status 0x%x", status);
}

const char* ErrorName(CUresult result) {
  const char* name = NULL;
  cuGetErrorName(result, &name);
  return name != NULL ? name : "an error that libcuda has no name for";
}

void CheckResult(const char* file, int line, const char* call, CUresult result) {
  if (result != CUDA_SUCCESS) Fail("%s:%d: %s: %d %s", file, line, call, result, ErrorName(result));
}

unsigned char* Allocate(size_t size) {
  unsigned char* bytes = malloc(size);
  if (bytes == NULL) Fail("no memory for %zu bytes", size);
  return bytes;
}

unsigned char* AllocateZeros(size_t size) {
  unsigned char* bytes = calloc(1, size);
  if (bytes == NULL) Fail("no memory for %zu bytes", size);
  return bytes;
}

void Fill(unsigned char* bytes, size_t size, uint64_t seed) {
  // A Weyl sequence, mixed: Steele, Lea and Flood's SplitMix64.
  uint64_t state = seed;
  for (size_t i = 0; i < size; i += sizeof(state)) {
    uint64_t mixed = state += 0x9e3779b97f4a7c15;
    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111eb;
    mixed ^= mixed >> 31;
    memcpy(bytes + i, &mixed, size - i < sizeof(mixed) ? size - i : sizeof(mixed));
  }
}

void Compare(const char* what, const unsigned char* expected, const unsigned char* actual, size_t size) {
  if (memcmp(expected, actual, size) == 0) return;
  size_t at = 0;
  while (expected[at] == actual[at]) ++at;
  Fail("%s: byte %zu of %zu is 0x%02x, 0x%02x is right", what, at, size, actual[at], expected[at]);
}
