// Memory of the host as NVIDIA's libcuda uses it: pinned (cuMemHostAlloc), registered (cuMemHostRegister) and
// pageable, of every kind that a program has. What the CPU writes after the registration is what the GPU
// copies, and the other way round; a child that is forked meanwhile has its own. Prints one line per step.
// Opens libcuda.so.1 at run time, so that it builds without CUDA. Ends with 1 at the first thing that is not
// as it should be.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

typedef int CUresult;
typedef uint64_t CUdeviceptr;

enum {
  kInvalidValue = 1,         // CUDA_ERROR_INVALID_VALUE
  kAlreadyRegistered = 712,  // CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED
  kNotSupported = 801,       // CUDA_ERROR_NOT_SUPPORTED
  kReadOnly = 8,             // CU_MEMHOSTREGISTER_READ_ONLY
};
enum { kPage = 4096, kSize = 4 << 20 };

static CUresult (*allocate)(CUdeviceptr*, size_t);
static CUresult (*to_device)(CUdeviceptr, const void*, size_t);
static CUresult (*to_host)(void*, CUdeviceptr, size_t);
static CUresult (*host_allocate)(void**, size_t, unsigned);
static CUresult (*host_free)(void*);
static CUresult (*host_register)(void*, size_t, unsigned);
static CUresult (*host_unregister)(void*);
static CUdeviceptr device;
static unsigned char* expected;

static unsigned char data[kSize] = {1};
static const unsigned char constants[64 * kPage] = {1, 2, 3};

static void* Symbol(void* library, const char* name) {
  void* symbol = dlsym(library, name);
  if (symbol == NULL) {
    fprintf(stderr, "libcuda has no %s\n", name);
    exit(1);
  }
  return symbol;
}

static void Expect(const char* step, int is, int should_be) {
  if (is != should_be) {
    fprintf(stderr, "%s: %d instead of %d\n", step, is, should_be);
    exit(1);
  }
}

static void ExpectEqual(const char* step, const unsigned char* a, const unsigned char* b, size_t size) {
  if (memcmp(a, b, size) == 0) return;
  fprintf(stderr, "%s: the data differs\n", step);
  exit(1);
}

static void Fill(unsigned char* bytes, size_t size, uint32_t seed) {
  uint32_t state = seed * 2654435761u + 1;
  for (size_t i = 0; i < size; ++i) {
    state = state * 1664525u + 1013904223u;
    bytes[i] = (unsigned char)(state >> 24);
  }
}

// The GPU reads what the CPU wrote last, and the CPU what the GPU wrote last.
static void RoundTrip(const char* what, unsigned char* memory, size_t size) {
  static uint32_t seed;
  Fill(memory, size, ++seed);
  memcpy(expected, memory, size);
  Expect(what, to_device(device, memory, size), 0);
  memset(memory, 0, size);
  Expect(what, to_host(memory, device, size), 0);
  ExpectEqual(what, memory, expected, size);
  printf("%s: equal\n", what);
}

// The same for memory that cannot be written.
static void CopyOut(const char* what, const unsigned char* memory, size_t size) {
  Expect(what, to_device(device, memory, size), 0);
  memset(expected, 0, size);
  Expect(what, to_host(expected, device, size), 0);
  ExpectEqual(what, memory, expected, size);
  printf("%s: equal\n", what);
}

static void* MapFile(int protection, int flags) {
  char path[] = "/tmp/host_memory.XXXXXX";
  const int fd = mkstemp(path);
  unlink(path);
  Expect("ftruncate", ftruncate(fd, kSize), 0);
  void* memory = mmap(NULL, kSize, protection, flags, fd, 0);
  close(fd);
  return memory;
}

static void* Map(int flags) {
  return mmap(NULL, kSize, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);
}

static void CopyPageableMemory(void) {
  unsigned char on_stack[64 * kPage];
  unsigned char* small = malloc(1000);
  unsigned char* large = malloc(kSize);
  unsigned char* read_only = Map(MAP_PRIVATE);
  RoundTrip("pageable malloc of 1000 bytes", small, 1000);
  RoundTrip("pageable malloc of 4 MiB", large, kSize);
  RoundTrip("pageable mmap, private", Map(MAP_PRIVATE), kSize);
  RoundTrip("pageable mmap, shared", Map(MAP_SHARED), kSize);
  RoundTrip("pageable data", data, kSize);
  RoundTrip("pageable stack", on_stack, sizeof(on_stack));
  RoundTrip("pageable file, shared", MapFile(PROT_READ | PROT_WRITE, MAP_SHARED), kSize);
  RoundTrip("pageable file, private", MapFile(PROT_READ | PROT_WRITE, MAP_PRIVATE), kSize);
  CopyOut("pageable file, read-only", MapFile(PROT_READ, MAP_SHARED), kSize);
  CopyOut("pageable constants", constants, sizeof(constants));
  Fill(read_only, kSize, 99);
  Expect("mprotect", mprotect(read_only, kSize, PROT_READ), 0);
  CopyOut("pageable mmap, read-only", read_only, kSize);
  free(small);
  free(large);
}

static void UsePinnedMemory(void) {
  static const size_t kSizes[] = {1, kPage, 100003, kSize};
  for (size_t i = 0; i < sizeof(kSizes) / sizeof(kSizes[0]); ++i) {
    void* memory = NULL;
    Expect("cuMemHostAlloc", host_allocate(&memory, kSizes[i], 0), 0);
    RoundTrip("pinned", memory, kSizes[i]);
    Expect("cuMemFreeHost", host_free(memory), 0);
  }
}

// Twice, because the second time there is nothing to be swapped.
static void Register(const char* what, unsigned char* memory, size_t size) {
  for (int i = 0; i < 2; ++i) {
    memory[0] = 17;
    memory[size - 1] = 18;
    Expect(what, host_register(memory, size, 0), 0);
    Expect("first byte", memory[0], 17);
    Expect("last byte", memory[size - 1], 18);
    RoundTrip(what, memory, size);
    Expect("cuMemHostRegister again", host_register(memory, size, 0), kAlreadyRegistered);
    Expect("cuMemHostUnregister", host_unregister(memory), 0);
    RoundTrip("unregistered", memory, size);
  }
}

static void RegisterMemory(void) {
  unsigned char* small = malloc(1000);
  unsigned char* large = malloc(kSize);
  unsigned char* mapped = Map(MAP_PRIVATE);
  Register("registered malloc of 1000 bytes", small, 1000);
  Register("registered malloc of 4 MiB", large, kSize);
  Register("registered mmap", mapped, kSize);
  Register("registered mmap, unaligned", mapped + 123, 5 * kPage + 77);
  // Grows, with what it has: the block becomes larger than what was registered.
  memcpy(expected, large, kSize);
  large = realloc(large, 3 * kSize);
  ExpectEqual("realloc", large, expected, kSize);
  memset(large + kSize, 5, 2 * kSize);
  free(large);
  free(small);
}

static void RegisterReadOnlyMemory(void) {
  unsigned char* memory = Map(MAP_PRIVATE);
  Fill(memory, kSize, 7);
  Expect("mprotect", mprotect(memory, kSize, PROT_READ), 0);
  Expect("read-only memory", host_register(memory, kSize, 0), kInvalidValue);
  Expect("read-only memory", host_register(memory, kSize, kReadOnly), 0);
  CopyOut("registered mmap, read-only", memory, kSize);
  Expect("cuMemHostUnregister", host_unregister(memory), 0);
}

// What cannot be shared with the broker is refused, and still copied.
static void RefuseMemory(void) {
  unsigned char on_stack[16 * kPage];
  unsigned char* shared = Map(MAP_SHARED);
  unsigned char* file = MapFile(PROT_READ | PROT_WRITE, MAP_SHARED);
  memset(shared, 1, kSize);
  Expect("shared memory with contents", host_register(shared, kSize, 0), kNotSupported);
  Expect("a file", host_register(file, kSize, 0), kNotSupported);
  Expect("data", host_register(data + kPage, kPage, 0), kNotSupported);
  Expect("the stack", host_register(on_stack, sizeof(on_stack), 0), kNotSupported);
  RoundTrip("refused", file, kSize);
}

// The child sees what was there at the fork and writes what nobody else sees.
static void ForkWithRegisteredMemory(void) {
  unsigned char* memory = Map(MAP_PRIVATE);
  Fill(memory, kSize, 3);
  memcpy(expected, memory, kSize);
  Expect("cuMemHostRegister", host_register(memory, kSize, 0), 0);
  int go[2];
  Expect("pipe", pipe(go), 0);
  const pid_t child = fork();
  if (child == 0) {
    char byte;
    if (read(go[0], &byte, 1) != 1) _exit(2);
    if (memcmp(memory, expected, kSize) != 0) _exit(3);
    memset(memory, 1, kSize);
    _exit(0);
  }
  memset(memory, 2, kSize);
  Expect("write", (int)write(go[1], "", 1), 1);
  int status = -1;
  Expect("waitpid", waitpid(child, &status, 0), child);
  Expect("the child", status, 0);
  for (size_t i = 0; i < kSize; ++i) Expect("a byte of the parent", memory[i], 2);
  RoundTrip("registered, after a fork", memory, kSize);
  Expect("cuMemHostUnregister", host_unregister(memory), 0);
}

// A buffer is registered again and again while other threads write beside it.
static volatile int stop;

static void* Count(void* at) {
  volatile uint64_t* word = at;
  uint64_t count = 0;
  while (!stop) *word = ++count;
  return (void*)(uintptr_t)(*word != count);
}

static void RegisterWhileOthersWrite(void) {
  enum { kThreads = 3, kRounds = 50 };
  pthread_t threads[kThreads];
  for (int round = 0; round < kRounds; ++round) {
    unsigned char* memory =
        mmap(NULL, 16 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    stop = 0;
    for (int i = 0; i < kThreads; ++i)
      Expect("pthread_create", pthread_create(&threads[i], NULL, Count, memory + i * kPage), 0);
    Expect("cuMemHostRegister", host_register(memory + 100, 15 * kPage, 0), 0);
    stop = 1;
    for (int i = 0; i < kThreads; ++i) {
      void* lost;
      pthread_join(threads[i], &lost);
      Expect("lost writes", lost != NULL, 0);
    }
    Expect("cuMemHostUnregister", host_unregister(memory + 100), 0);
    munmap(memory, 16 * kPage);
  }
  printf("no write of another thread is lost\n");
}

int main(void) {
  void* context = NULL;
  int ordinal = -1;
  void* library = dlopen("libcuda.so.1", RTLD_NOW);
  if (library == NULL) {
    fprintf(stderr, "%s\n", dlerror());
    return 1;
  }
  CUresult (*init)(unsigned) = Symbol(library, "cuInit");
  CUresult (*get)(int*, int) = Symbol(library, "cuDeviceGet");
  CUresult (*create)(void**, unsigned, int) = Symbol(library, "cuCtxCreate_v2");
  CUresult (*destroy)(void*) = Symbol(library, "cuCtxDestroy_v2");
  allocate = Symbol(library, "cuMemAlloc_v2");
  to_device = Symbol(library, "cuMemcpyHtoD_v2");
  to_host = Symbol(library, "cuMemcpyDtoH_v2");
  host_allocate = Symbol(library, "cuMemHostAlloc");
  host_free = Symbol(library, "cuMemFreeHost");
  host_register = Symbol(library, "cuMemHostRegister_v2");
  host_unregister = Symbol(library, "cuMemHostUnregister");
  Expect("cuInit", init(0), 0);
  Expect("cuDeviceGet", get(&ordinal, 0), 0);
  Expect("cuCtxCreate", create(&context, 0, ordinal), 0);
  Expect("cuMemAlloc", allocate(&device, kSize), 0);
  expected = malloc(kSize);
  CopyPageableMemory();
  UsePinnedMemory();
  RegisterMemory();
  RegisterReadOnlyMemory();
  RefuseMemory();
  ForkWithRegisteredMemory();
  RegisterWhileOthersWrite();
  Expect("cuCtxDestroy", destroy(context), 0);
  printf("all host memory is as it should be\n");
  return 0;
}
