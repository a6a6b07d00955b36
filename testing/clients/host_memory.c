// Laws: memory of the host is copied equal, whether it is pinned (cuMemHostAlloc), registered
// (cuMemHostRegister) or pageable, of every kind that a program has. What the CPU wrote last is what the GPU
// reads, and the other way round. A block that was registered may grow. A forked child has a registered
// buffer as it was at the fork, and for itself. Threads that write to a buffer while it is registered lose
// nothing. What cannot be registered is refused, and copied all the same.
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "testing/clients/cuda.h"

enum { kPage = 4096, kSize = 4 << 20 };

static CUdeviceptr device;
static unsigned char* scratch;

static unsigned char data[kSize] = {1};
static const unsigned char constants[64 * kPage] = {1, 2, 3};

static void Expect(const char* what, int is, int right) {
  if (is != right) Fail("%s: %d, %d is right", what, is, right);
}

// The GPU reads what the CPU wrote last, and the CPU what the GPU wrote last.
static void RoundTrip(const char* what, unsigned char* memory, size_t size) {
  static uint64_t seed;
  Fill(memory, size, ++seed);
  memcpy(scratch, memory, size);
  CHECK(cuMemcpyHtoD(device, memory, size));
  memset(memory, 0, size);
  CHECK(cuMemcpyDtoH(memory, device, size));
  Compare(what, scratch, memory, size);
  Step("%s: equal", what);
}

// The same for memory that cannot be written.
static void CopyOut(const char* what, const unsigned char* memory, size_t size) {
  CHECK(cuMemcpyHtoD(device, memory, size));
  memset(scratch, 0, size);
  CHECK(cuMemcpyDtoH(scratch, device, size));
  Compare(what, memory, scratch, size);
  Step("%s: equal", what);
}

static void* Map(int flags) {
  void* memory = mmap(NULL, kSize, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) Fail("no memory");
  return memory;
}

static void* MapFile(int protection, int flags) {
  const int fd = memfd_create("host_memory", MFD_CLOEXEC);
  if (fd < 0 || ftruncate(fd, kSize) != 0) Fail("no file");
  void* memory = mmap(NULL, kSize, protection, flags, fd, 0);
  close(fd);
  return memory;
}

static void CopyPageableMemory(void) {
  unsigned char on_stack[64 * kPage];
  unsigned char* small = Allocate(1000);
  unsigned char* large = Allocate(kSize);
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
    CHECK(cuMemHostAlloc(&memory, kSizes[i], 0));
    RoundTrip("pinned", memory, kSizes[i]);
    CHECK(cuMemFreeHost(memory));
  }
}

// Private memory is swapped under userfaultfd, which containers may forbid. Then it is refused. The filter of
// nvshim-run is no obstacle.
static int MayRegisterPrivateMemory(void) {
  if (prctl(PR_GET_SECCOMP, 0, 0, 0, 0) != 0 && getenv("NVSHIM_FILTERS") == NULL) return 0;
  const long fd = syscall(SYS_userfaultfd, O_CLOEXEC | 1 /* UFFD_USER_MODE_ONLY */);
  if (fd >= 0) close((int)fd);
  return fd >= 0;
}

// Twice, because the second time there is nothing to be swapped.
static void Register(const char* what, unsigned char* memory, size_t size) {
  for (int i = 0; i < 2; ++i) {
    memory[0] = 17;
    memory[size - 1] = 18;
    CHECK(cuMemHostRegister(memory, size, 0));
    Expect("the first byte", memory[0], 17);
    Expect("the last byte", memory[size - 1], 18);
    RoundTrip(what, memory, size);
    Expect("registered twice", cuMemHostRegister(memory, size, 0), CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED);
    CHECK(cuMemHostUnregister(memory));
    RoundTrip("unregistered", memory, size);
  }
}

static void RegisterMemory(void) {
  unsigned char* small = Allocate(1000);
  unsigned char* large = Allocate(kSize);
  unsigned char* mapped = Map(MAP_PRIVATE);
  Register("registered malloc of 1000 bytes", small, 1000);
  Register("registered malloc of 4 MiB", large, kSize);
  Register("registered mmap", mapped, kSize);
  Register("registered mmap, unaligned", mapped + 123, 5 * kPage + 77);
  memcpy(scratch, large, kSize);
  large = realloc(large, 3 * kSize);
  if (large == NULL) Fail("no memory");
  Compare("realloc", scratch, large, kSize);
  memset(large + kSize, 5, 2 * kSize);
  free(large);
  free(small);
}

static void RegisterReadOnlyMemory(void) {
  unsigned char* memory = Map(MAP_PRIVATE);
  Fill(memory, kSize, 7);
  Expect("mprotect", mprotect(memory, kSize, PROT_READ), 0);
  Expect("read-only memory", cuMemHostRegister(memory, kSize, 0), CUDA_ERROR_INVALID_VALUE);
  CHECK(cuMemHostRegister(memory, kSize, CU_MEMHOSTREGISTER_READ_ONLY));
  CopyOut("registered mmap, read-only", memory, kSize);
  CHECK(cuMemHostUnregister(memory));
}

static void RefuseMemory(void) {
  unsigned char on_stack[16 * kPage];
  unsigned char* shared = Map(MAP_SHARED);
  unsigned char* file = MapFile(PROT_READ | PROT_WRITE, MAP_SHARED);
  memset(shared, 1, kSize);
  Expect("memory that others may share", cuMemHostRegister(shared, kSize, 0), CUDA_ERROR_NOT_SUPPORTED);
  Expect("a file", cuMemHostRegister(file, kSize, 0), CUDA_ERROR_NOT_SUPPORTED);
  Expect("data", cuMemHostRegister(data + kPage, kPage, 0), CUDA_ERROR_NOT_SUPPORTED);
  Expect("the stack", cuMemHostRegister(on_stack, sizeof(on_stack), 0), CUDA_ERROR_NOT_SUPPORTED);
  RoundTrip("refused", file, kSize);
}

static void ForkWithRegisteredMemory(void) {
  unsigned char* memory = Map(MAP_PRIVATE);
  Fill(memory, kSize, 3);
  memcpy(scratch, memory, kSize);
  CHECK(cuMemHostRegister(memory, kSize, 0));
  int go[2];
  Expect("pipe", pipe(go), 0);
  const pid_t child = fork();
  if (child == 0) {
    char byte;
    if (read(go[0], &byte, 1) != 1) _exit(2);
    if (memcmp(memory, scratch, kSize) != 0) _exit(3);
    memset(memory, 1, kSize);
    _exit(0);
  }
  memset(memory, 2, kSize);  // at once: the child has its copy by now
  Expect("write", (int)write(go[1], "", 1), 1);
  int status = -1;
  Expect("waitpid", waitpid(child, &status, 0), child);
  Expect("the child", status, 0);
  for (size_t i = 0; i < kSize; ++i) Expect("a byte of the parent", memory[i], 2);
  RoundTrip("registered, after a fork", memory, kSize);
  CHECK(cuMemHostUnregister(memory));
}

static volatile int stop;

// Counts in its own word until told to stop; not NULL when the word is not what was written last.
static void* Count(void* at) {
  volatile uint64_t* word = at;
  uint64_t count = 0;
  while (!stop) *word = ++count;
  return *word == count ? NULL : at;
}

static void RegisterWhileOthersWrite(void) {
  enum { kThreads = 3, kRounds = 50 };
  pthread_t threads[kThreads];
  for (int round = 0; round < kRounds; ++round) {
    unsigned char* memory = Map(MAP_PRIVATE);
    stop = 0;
    for (int i = 0; i < kThreads; ++i)
      Expect("pthread_create", pthread_create(&threads[i], NULL, Count, memory + i * kPage), 0);
    CHECK(cuMemHostRegister(memory + 100, 15 * kPage, 0));
    stop = 1;
    for (int i = 0; i < kThreads; ++i) {
      void* lost;
      pthread_join(threads[i], &lost);
      if (lost != NULL) Fail("a write of thread %d is lost", i);
    }
    CHECK(cuMemHostUnregister(memory + 100));
    munmap(memory, kSize);
  }
  Step("no write of another thread is lost");
}

int main(void) {
  const CUcontext context = CreateFirstContext();
  scratch = Allocate(kSize);
  CHECK(cuMemAlloc(&device, kSize));
  CopyPageableMemory();
  UsePinnedMemory();
  RefuseMemory();
  if (MayRegisterPrivateMemory()) {
    RegisterMemory();
    RegisterReadOnlyMemory();
    ForkWithRegisteredMemory();
    RegisterWhileOthersWrite();
  } else {
    Expect("private memory", cuMemHostRegister(Map(MAP_PRIVATE), kSize, 0), CUDA_ERROR_NOT_SUPPORTED);
    Step("no userfaultfd here: private memory is not registered");
  }
  CHECK(cuCtxDestroy(context));
  return 0;
}
