// What the programs of the kit share beyond testing/clients/cuda.h: the newer half of libcuda, kernels as PTX
// text, and what their output is made of. Standard output is compared between a native and a brokered run, so
// it holds results and nothing that changes; times go to standard error, where run.py reads them. A program
// whose results need kernels that run says so with Result(): on a simulated GPU, which runs none, nothing is
// compared then. The programs trust nothing that libcuda returns: that is what they test.
//
// Threads: StartKit is called once, before others start; everything else may be called by any thread.
#ifndef TESTING_GPU_PROGRAMS_KIT_H_
#define TESTING_GPU_PROGRAMS_KIT_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "testing/clients/cuda.h"

typedef struct CUgraph_st* CUgraph;
typedef struct CUgraphExec_st* CUgraphExec;
typedef struct CUgraphNode_st* CUgraphNode;
typedef uint64_t CUmemHandle;  // cuda.h: CUmemGenericAllocationHandle

enum {
  CUDA_ERROR_ILLEGAL_ADDRESS = 700,

  CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT = 16,
  CU_DEVICE_ATTRIBUTE_CONCURRENT_MANAGED_ACCESS = 89,
  CU_DEVICE_ATTRIBUTE_COOPERATIVE_LAUNCH = 95,
  CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED = 102,
  CU_DEVICE_ATTRIBUTE_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR_SUPPORTED = 103,

  CU_MEM_ADVISE_SET_READ_MOSTLY = 1,
  CU_MEM_ADVISE_SET_PREFERRED_LOCATION = 3,
  CU_MEM_ADVISE_SET_ACCESSED_BY = 5,
  CU_DEVICE_CPU = -1,
  CU_MEMHOSTALLOC_DEVICEMAP = 2,
  CU_EVENT_INTERPROCESS = 4,
  CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS = 1,
  CU_STREAM_CAPTURE_MODE_THREAD_LOCAL = 1,
  CU_MEM_ALLOCATION_TYPE_PINNED = 1,
  CU_MEM_HANDLE_TYPE_NONE = 0,
  CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR = 1,
  CU_MEM_LOCATION_TYPE_DEVICE = 1,
  CU_MEM_ACCESS_FLAGS_PROT_READWRITE = 3,
};

typedef struct {
  char reserved[64];
} CUipcHandle;  // cuda.h: CUipcMemHandle and CUipcEventHandle

typedef struct {
  int type, id;
} CUmemLocation;

typedef struct {
  int type, requestedHandleTypes;
  CUmemLocation location;
  void* win32HandleMetaData;
  unsigned char compressionType, gpuDirectRDMACapable;
  unsigned short usage;
  unsigned char reserved[4];
} CUmemAllocationProp;

typedef struct {
  CUmemLocation location;
  int flags;
} CUmemAccessDesc;

typedef struct {
  CUfunction func;
  unsigned gridDimX, gridDimY, gridDimZ, blockDimX, blockDimY, blockDimZ, sharedMemBytes;
  void **kernelParams, **extra;
} CUDA_KERNEL_NODE_PARAMS;  // the first version, which cuGraphAddKernelNode takes

#define KIT_FUNCTIONS(F)                                                                                  \
  F(cuDriverGetVersion, cuDriverGetVersion, (int*))                                                       \
  F(cuDeviceGetAttribute, cuDeviceGetAttribute, (int*, int, CUdevice))                                    \
  F(cuMemHostGetDevicePointer, cuMemHostGetDevicePointer_v2, (CUdeviceptr*, void*, unsigned))             \
  F(cuMemsetD32Async, cuMemsetD32Async, (CUdeviceptr, unsigned, size_t, CUstream))                        \
  F(cuMemcpyDtoDAsync, cuMemcpyDtoDAsync_v2, (CUdeviceptr, CUdeviceptr, size_t, CUstream))                \
  F(cuMemAdvise, cuMemAdvise, (CUdeviceptr, size_t, int, CUdevice))                                       \
  F(cuMemPrefetchAsync, cuMemPrefetchAsync, (CUdeviceptr, size_t, CUdevice, CUstream))                    \
  F(cuLaunchCooperativeKernel, cuLaunchCooperativeKernel,                                                 \
    (CUfunction, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, CUstream, void**)) \
  F(cuOccupancyMaxActiveBlocks, cuOccupancyMaxActiveBlocksPerMultiprocessor,                              \
    (int*, CUfunction, int, size_t))                                                                      \
  F(cuStreamBeginCapture, cuStreamBeginCapture_v2, (CUstream, int))                                       \
  F(cuStreamEndCapture, cuStreamEndCapture, (CUstream, CUgraph*))                                         \
  F(cuGraphCreate, cuGraphCreate, (CUgraph*, unsigned))                                                   \
  F(cuGraphAddKernelNode, cuGraphAddKernelNode,                                                           \
    (CUgraphNode*, CUgraph, const CUgraphNode*, size_t, const CUDA_KERNEL_NODE_PARAMS*))                  \
  F(cuGraphInstantiate, cuGraphInstantiateWithFlags, (CUgraphExec*, CUgraph, unsigned long long))         \
  F(cuGraphLaunch, cuGraphLaunch, (CUgraphExec, CUstream))                                                \
  F(cuGraphExecDestroy, cuGraphExecDestroy, (CUgraphExec))                                                \
  F(cuGraphDestroy, cuGraphDestroy, (CUgraph))                                                            \
  F(cuMemGetAllocationGranularity, cuMemGetAllocationGranularity,                                         \
    (size_t*, const CUmemAllocationProp*, int))                                                           \
  F(cuMemCreate, cuMemCreate, (CUmemHandle*, size_t, const CUmemAllocationProp*, unsigned long long))     \
  F(cuMemRelease, cuMemRelease, (CUmemHandle))                                                            \
  F(cuMemAddressReserve, cuMemAddressReserve,                                                             \
    (CUdeviceptr*, size_t, size_t, CUdeviceptr, unsigned long long))                                      \
  F(cuMemAddressFree, cuMemAddressFree, (CUdeviceptr, size_t))                                            \
  F(cuMemMap, cuMemMap, (CUdeviceptr, size_t, size_t, CUmemHandle, unsigned long long))                   \
  F(cuMemUnmap, cuMemUnmap, (CUdeviceptr, size_t))                                                        \
  F(cuMemSetAccess, cuMemSetAccess, (CUdeviceptr, size_t, const CUmemAccessDesc*, size_t))                \
  F(cuMemExportToShareableHandle, cuMemExportToShareableHandle,                                           \
    (void*, CUmemHandle, int, unsigned long long))                                                        \
  F(cuMemImportFromShareableHandle, cuMemImportFromShareableHandle, (CUmemHandle*, void*, int))           \
  F(cuIpcGetMemHandle, cuIpcGetMemHandle, (CUipcHandle*, CUdeviceptr))                                    \
  F(cuIpcOpenMemHandle, cuIpcOpenMemHandle_v2, (CUdeviceptr*, CUipcHandle, unsigned))                     \
  F(cuIpcCloseMemHandle, cuIpcCloseMemHandle, (CUdeviceptr))                                              \
  F(cuIpcGetEventHandle, cuIpcGetEventHandle, (CUipcHandle*, CUevent))                                    \
  F(cuIpcOpenEventHandle, cuIpcOpenEventHandle, (CUevent*, CUipcHandle))

#define KIT_DECLARE(name, symbol, parameters) extern CUresult(*name) parameters;
KIT_FUNCTIONS(KIT_DECLARE)
#undef KIT_DECLARE

// Opens libcuda, finds all functions of cuda.h and of this file, and makes a context on the first device,
// current for the calling thread.
CUcontext StartKit(void);

// What attribute `attribute` of the first device is.
int Attribute(int attribute);

// Whether kernels run here, so that what they write can be looked at: false on a simulated GPU, where
// NVSHIM_KIT_KERNELS is "skipped".
bool KernelsRun(void);

// Prints "what: " and a checksum of `size` bytes; where kernels do not run, that there is nothing to check.
void Result(const char* what, const void* bytes, size_t size);

// As Compare of cuda.h, where kernels run; else nothing.
void CompareResult(const char* what, const void* expected, const void* actual, size_t size);

// Prints "timing NAME VALUE UNIT" to standard error.
void Timing(const char* name, double value, const char* unit);

// Seconds of a clock that only goes forward.
double Now(void);

// Prints why and ends the program with 77: what it tests is not to be had here.
void NotApplicable(const char* format, ...) __attribute__((format(printf, 1, 2), noreturn));

// The module of kernels.c, and a kernel of it.
CUmodule LoadKernels(void);
CUfunction FindKernel(CUmodule module, const char* name);

// Launches `kernel` with enough blocks of 256 threads for `count` items; `parameters` as cuLaunchKernel wants
// them.
void Launch(CUfunction kernel, uint32_t count, CUstream stream, void** parameters);

// What `mix` of kernels.c makes of `value` in `rounds` rounds.
uint32_t Mixed(uint32_t value, uint32_t rounds);

#endif  // TESTING_GPU_PROGRAMS_KIT_H_
