// Laws: functions that are asked for by name and CUDA version, as programs do that are built with headers of
// CUDA 12, are those of that version, and what is newer is said to be. What such programs use keeps data as
// the older calls do: the default stream of a thread, memory from pools, memory mapped by the program, graphs
// of copies, values written and waited for in streams, libraries.
#include <string.h>

#include "testing/clients/cuda.h"

enum {
  kCuda3_2 = 3020,
  kCuda11_0 = 11000,
  kCuda11_4 = 11040,
  kCuda12_0 = 12000,
  kCuda12_2 = 12020,  // of driver 535
  kBytes = 1 << 20,
};

static void* Find(const char* name, int version, uint64_t flags) {
  void* function = NULL;
  int status = -1;
  CHECK(cuGetProcAddress(name, &function, version, flags, &status));
  if (status != CU_GET_PROC_ADDRESS_SUCCESS || function == NULL)
    Fail("%s of %d is found with status %d", name, version, status);
  return function;
}

static void ExpectNotFound(const char* name, int version, int wanted) {
  void* function = NULL;
  int status = -1;
  cuGetProcAddress(name, &function, version, 0, &status);
  if (status != wanted || function != NULL)
    Fail("%s of %d is found with status %d, %d is right", name, version, status, wanted);
}

// The context to go on with, made by the version that takes no parameters.
static CUcontext FindByVersion(void) {
  CUdevice device = -1;
  CUcontext context = NULL;
  CHECK(cuDeviceGet(&device, 0));
  CUresult (*create_v3)(CUcontext*, void*, int, unsigned, CUdevice) = Find("cuCtxCreate", kCuda11_4, 0);
  CHECK(create_v3(&context, NULL, 0, 0, device));
  CHECK(cuCtxDestroy(context));
  CUresult (*create_v2)(CUcontext*, unsigned, CUdevice) = Find("cuCtxCreate", kCuda3_2, 0);
  CHECK(create_v2(&context, 0, device));
  ExpectNotFound("cuNothingLikeIt", kCuda12_2, CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND);
  ExpectNotFound("cuLibraryLoadData", kCuda11_0, CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT);
  return context;
}

// What all parts use: data, pinned so that copies are asynchronous, and a stream.
typedef struct {
  unsigned char *sent, *received;
  CUstream stream;
} Work;

static void Prepare(const Work* work, uint64_t seed) {
  Fill(work->sent, kBytes, seed);
  memset(work->received, 0, kBytes);
}

static void CopyThereAndBack(const Work* work, CUdeviceptr device, const char* what) {
  CHECK(cuMemcpyHtoDAsync(device, work->sent, kBytes, work->stream));
  CHECK(cuMemcpyDtoHAsync(work->received, device, kBytes, work->stream));
  CHECK(cuStreamSynchronize(work->stream));
  Compare(what, work->sent, work->received, kBytes);
}

static void UseDefaultStreamOfThread(const Work* work) {
  const uint64_t per_thread = CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM;
  CUresult (*to_device)(CUdeviceptr, const void*, size_t, CUstream) =
      Find("cuMemcpyHtoDAsync", kCuda12_2, per_thread);
  CUresult (*to_host)(void*, CUdeviceptr, size_t, CUstream) =
      Find("cuMemcpyDtoHAsync", kCuda12_2, per_thread);
  CUresult (*synchronize)(CUstream) = Find("cuStreamSynchronize", kCuda12_2, per_thread);
  CUdeviceptr device = 0;
  CHECK(cuMemAlloc(&device, kBytes));
  CHECK(to_device(device, work->sent, kBytes, NULL));
  CHECK(to_host(work->received, device, kBytes, NULL));
  CHECK(synchronize(NULL));
  Compare("the thread's default stream", work->sent, work->received, kBytes);
  CHECK(cuMemFree(device));
}

static void UsePool(const Work* work) {
  CUresult (*allocate)(CUdeviceptr*, size_t, CUstream) = Find("cuMemAllocAsync", kCuda12_2, 0);
  CUresult (*release)(CUdeviceptr, CUstream) = Find("cuMemFreeAsync", kCuda12_2, 0);
  CUdeviceptr device = 0;
  CHECK(allocate(&device, kBytes, work->stream));
  CopyThereAndBack(work, device, "memory of a pool");
  CHECK(release(device, work->stream));
  CHECK(cuStreamSynchronize(work->stream));
}

// CUmemAllocationProp and CUmemAccessDesc of cuda.h, as far as they are used.
typedef struct {
  int type, requested_handle_types, location_type, location_id;
  void* win32_handle_meta_data;
  unsigned char flags[8];
} AllocationProperties;
typedef struct {
  int location_type, location_id, flags;
} Access;
enum {
  CU_MEM_ALLOCATION_TYPE_PINNED = 1,
  CU_MEM_LOCATION_TYPE_DEVICE = 1,
  CU_MEM_ACCESS_FLAGS_PROT_READWRITE = 3,
};

// One piece of memory behind two ranges of addresses: what is written through one is read through the other.
static void MapTwice(const Work* work) {
  CUresult (*granularity_of)(size_t*, const AllocationProperties*, int) =
      Find("cuMemGetAllocationGranularity", kCuda12_2, 0);
  CUresult (*create)(uint64_t*, size_t, const AllocationProperties*, uint64_t) =
      Find("cuMemCreate", kCuda12_2, 0);
  CUresult (*release)(uint64_t) = Find("cuMemRelease", kCuda12_2, 0);
  CUresult (*reserve)(CUdeviceptr*, size_t, size_t, CUdeviceptr, uint64_t) =
      Find("cuMemAddressReserve", kCuda12_2, 0);
  CUresult (*give_back)(CUdeviceptr, size_t) = Find("cuMemAddressFree", kCuda12_2, 0);
  CUresult (*map)(CUdeviceptr, size_t, size_t, uint64_t, uint64_t) = Find("cuMemMap", kCuda12_2, 0);
  CUresult (*unmap)(CUdeviceptr, size_t) = Find("cuMemUnmap", kCuda12_2, 0);
  CUresult (*allow)(CUdeviceptr, size_t, const Access*, size_t) = Find("cuMemSetAccess", kCuda12_2, 0);
  const AllocationProperties properties = {.type = CU_MEM_ALLOCATION_TYPE_PINNED,
                                           .location_type = CU_MEM_LOCATION_TYPE_DEVICE};
  const Access access = {CU_MEM_LOCATION_TYPE_DEVICE, 0, CU_MEM_ACCESS_FLAGS_PROT_READWRITE};
  size_t granularity = 0;
  uint64_t memory = 0;
  CUdeviceptr both = 0;
  CHECK(granularity_of(&granularity, &properties, 0));
  if (granularity < kBytes) Fail("memory is mapped in units of %zu bytes", granularity);
  CHECK(create(&memory, granularity, &properties, 0));
  CHECK(reserve(&both, 2 * granularity, 0, 0, 0));
  CHECK(map(both, granularity, 0, memory, 0));
  CHECK(map(both + granularity, granularity, 0, memory, 0));
  CHECK(allow(both, 2 * granularity, &access, 1));
  CHECK(cuMemcpyHtoD(both, work->sent, kBytes));
  CHECK(cuMemcpyDtoH(work->received, both + granularity, kBytes));
  Compare("memory mapped twice", work->sent, work->received, kBytes);
  CHECK(unmap(both, 2 * granularity));
  CHECK(give_back(both, 2 * granularity));
  CHECK(release(memory));
}

static void LaunchGraph(const Work* work) {
  CUresult (*begin)(CUstream, int) = Find("cuStreamBeginCapture", kCuda12_2, 0);
  CUresult (*end)(CUstream, void**) = Find("cuStreamEndCapture", kCuda12_2, 0);
  CUresult (*instantiate)(void**, void*, uint64_t) = Find("cuGraphInstantiate", kCuda12_2, 0);
  CUresult (*launch)(void*, CUstream) = Find("cuGraphLaunch", kCuda12_2, 0);
  CUresult (*destroy)(void*) = Find("cuGraphDestroy", kCuda12_2, 0);
  CUresult (*destroy_executable)(void*) = Find("cuGraphExecDestroy", kCuda12_2, 0);
  void *graph = NULL, *executable = NULL;
  CUdeviceptr device = 0;
  CHECK(cuMemAlloc(&device, kBytes));
  CHECK(begin(work->stream, 0));
  CHECK(cuMemcpyHtoDAsync(device, work->sent, kBytes, work->stream));
  CHECK(cuMemcpyDtoHAsync(work->received, device, kBytes, work->stream));
  CHECK(end(work->stream, &graph));
  CHECK(instantiate(&executable, graph, 0));
  for (int round = 0; round < 3; ++round) {
    Prepare(work, 100 + round);
    CHECK(launch(executable, work->stream));
    CHECK(cuStreamSynchronize(work->stream));
    Compare("a graph of copies", work->sent, work->received, kBytes);
  }
  CHECK(destroy_executable(executable));
  CHECK(destroy(graph));
  CHECK(cuMemFree(device));
}

// One stream reads device memory after a value appears, which another one writes after the data.
static void WaitForValue(const Work* work) {
  CUresult (*write)(CUstream, CUdeviceptr, uint32_t, unsigned) = Find("cuStreamWriteValue32", kCuda12_2, 0);
  CUresult (*wait)(CUstream, CUdeviceptr, uint32_t, unsigned) = Find("cuStreamWaitValue32", kCuda12_2, 0);
  const uint32_t none = 0, value = 77;
  uint32_t seen = 0;
  CUstream reader = NULL;
  CUdeviceptr device = 0, flag = 0;
  CHECK(cuStreamCreate(&reader, CU_STREAM_NON_BLOCKING));
  CHECK(cuMemAlloc(&device, kBytes));
  CHECK(cuMemAlloc(&flag, sizeof(value)));
  CHECK(cuMemcpyHtoD(flag, &none, sizeof(none)));
  CHECK(cuCtxSynchronize());  // a copy this small is only queued so far, and the streams do not wait for it
  CHECK(wait(reader, flag, value, 1));  // until it is equal
  CHECK(cuMemcpyDtoHAsync(work->received, device, kBytes, reader));
  if (cuStreamQuery(reader) != CUDA_ERROR_NOT_READY) Fail("a stream does not wait for a value");
  CHECK(cuMemcpyHtoDAsync(device, work->sent, kBytes, work->stream));
  CHECK(write(work->stream, flag, value, 0));
  CHECK(cuStreamSynchronize(reader));
  Compare("memory written before a value", work->sent, work->received, kBytes);
  CHECK(cuMemcpyDtoH(&seen, flag, sizeof(seen)));
  if (seen != value) Fail("the value is %u, %u is right", seen, value);
  CHECK(cuStreamDestroy(reader));
  CHECK(cuMemFree(device));
  CHECK(cuMemFree(flag));
}

static const char kPtx[] =
    ".version 7.0\n"
    ".target sm_50\n"
    ".address_size 64\n"
    ".visible .global .align 4 .b32 answer = 42;\n"
    ".visible .entry nothing() { ret; }\n";

static void LoadLibrary(void) {
  CUresult (*load)(void**, const void*, int*, void**, unsigned, int*, void**, unsigned) =
      Find("cuLibraryLoadData", kCuda12_0, 0);
  CUresult (*unload)(void*) = Find("cuLibraryUnload", kCuda12_0, 0);
  CUresult (*get_kernel)(void**, void*, const char*) = Find("cuLibraryGetKernel", kCuda12_0, 0);
  CUresult (*get_global)(CUdeviceptr*, size_t*, void*, const char*) =
      Find("cuLibraryGetGlobal", kCuda12_0, 0);
  void *library = NULL, *kernel = NULL;
  CUdeviceptr device = 0;
  size_t size = 0;
  uint32_t answer = 0;
  CHECK(load(&library, kPtx, NULL, NULL, 0, NULL, NULL, 0));
  CHECK(get_kernel(&kernel, library, "nothing"));
  CHECK(get_global(&device, &size, library, "answer"));
  CHECK(cuMemcpyDtoH(&answer, device, sizeof(answer)));
  if (size != sizeof(answer) || answer != 42)
    Fail("the variable of %zu bytes is %u, 42 is right", size, answer);
  CHECK(unload(library));
}

int main(void) {
  Work work = {NULL, NULL, NULL};
  LoadCuda();
  CHECK(cuInit(0));
  Step("functions by version");
  CUcontext context = FindByVersion();
  CHECK(cuMemAllocHost((void**)&work.sent, kBytes));
  CHECK(cuMemAllocHost((void**)&work.received, kBytes));
  CHECK(cuStreamCreate(&work.stream, CU_STREAM_NON_BLOCKING));
  static const struct {
    const char* what;
    void (*run)(const Work*);
  } kParts[] = {
      {"the default stream of a thread", UseDefaultStreamOfThread},
      {"memory of a pool", UsePool},
      {"memory mapped twice", MapTwice},
      {"a graph", LaunchGraph},
      {"values in streams", WaitForValue},
  };
  for (size_t i = 0; i < sizeof(kParts) / sizeof(kParts[0]); ++i) {
    Step("%s", kParts[i].what);
    Prepare(&work, i);
    kParts[i].run(&work);
  }
  Step("a library");
  LoadLibrary();
  CHECK(cuStreamDestroy(work.stream));
  CHECK(cuMemFreeHost(work.sent));
  CHECK(cuMemFreeHost(work.received));
  CHECK(cuCtxDestroy(context));
  Step("newer calls keep data as older ones do");
  return 0;
}
