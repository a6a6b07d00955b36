// What the client programs share: libcuda.so.1, opened at run time, and the few types and functions of it
// that they use, under the names of NVIDIA's cuda.h, so that they build without CUDA. Also their way to say
// what they do and to give up, and data that shows where it comes from. The programs trust nothing that
// libcuda returns: that is what they test.
//
// Threads: LoadCuda is called once, before others start; everything else may be called by any thread.
#ifndef TESTING_CLIENTS_CUDA_H_
#define TESTING_CLIENTS_CUDA_H_

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

typedef int CUresult;
typedef int CUdevice;
typedef uint64_t CUdeviceptr;
typedef struct CUctx_st* CUcontext;
typedef struct CUarray_st* CUarray;
typedef struct CUstream_st* CUstream;
typedef struct CUevent_st* CUevent;
typedef struct CUmod_st* CUmodule;
typedef struct CUfunc_st* CUfunction;
typedef void (*CUhostFn)(void* data);

enum {
  CUDA_SUCCESS = 0,
  CUDA_ERROR_INVALID_VALUE = 1,
  CUDA_ERROR_OUT_OF_MEMORY = 2,
  CUDA_ERROR_INVALID_PTX = 218,
  CUDA_ERROR_INVALID_HANDLE = 400,
  CUDA_ERROR_NOT_FOUND = 500,
  CUDA_ERROR_NOT_READY = 600,
  CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED = 712,
  CUDA_ERROR_LAUNCH_FAILED = 719,
  CUDA_ERROR_NOT_SUPPORTED = 801,

  CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM = 2,
  CU_GET_PROC_ADDRESS_SUCCESS = 0,
  CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND = 1,
  CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT = 2,
  CU_MEMORYTYPE_HOST = 1,
  CU_MEMORYTYPE_DEVICE = 2,
  CU_MEMORYTYPE_ARRAY = 3,
  CU_AD_FORMAT_UNSIGNED_INT8 = 1,
  CU_AD_FORMAT_FLOAT = 0x20,
  CU_MEM_ATTACH_GLOBAL = 1,
  CU_STREAM_NON_BLOCKING = 1,
  CU_EVENT_BLOCKING_SYNC = 1,
  CU_EVENT_DISABLE_TIMING = 2,
  CU_CTX_SCHED_BLOCKING_SYNC = 4,
  CU_MEMHOSTREGISTER_READ_ONLY = 8,
  CU_JIT_ERROR_LOG_BUFFER = 5,
  CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES = 6,
};

typedef struct {
  size_t srcXInBytes, srcY;
  int srcMemoryType;
  const void* srcHost;
  CUdeviceptr srcDevice;
  CUarray srcArray;
  size_t srcPitch;
  size_t dstXInBytes, dstY;
  int dstMemoryType;
  void* dstHost;
  CUdeviceptr dstDevice;
  CUarray dstArray;
  size_t dstPitch;
  size_t WidthInBytes, Height;
} CUDA_MEMCPY2D;

typedef struct {
  size_t Width, Height;
  int Format;
  unsigned NumChannels;
} CUDA_ARRAY_DESCRIPTOR;

// F(name, symbol, parameters): `symbol` is what cuda.h makes of `name`.
#define CUDA_FUNCTIONS(F)                                                                                \
  F(cuGetErrorName, cuGetErrorName, (CUresult, const char**))                                            \
  F(cuGetProcAddress, cuGetProcAddress_v2, (const char*, void**, int, uint64_t, int*))                   \
  F(cuInit, cuInit, (unsigned))                                                                          \
  F(cuDeviceGet, cuDeviceGet, (CUdevice*, int))                                                          \
  F(cuDeviceTotalMem, cuDeviceTotalMem_v2, (size_t*, CUdevice))                                          \
  F(cuCtxCreate, cuCtxCreate_v2, (CUcontext*, unsigned, CUdevice))                                       \
  F(cuCtxDestroy, cuCtxDestroy_v2, (CUcontext))                                                          \
  F(cuCtxSynchronize, cuCtxSynchronize, (void))                                                          \
  F(cuMemGetInfo, cuMemGetInfo_v2, (size_t*, size_t*))                                                   \
  F(cuMemAlloc, cuMemAlloc_v2, (CUdeviceptr*, size_t))                                                   \
  F(cuMemAllocPitch, cuMemAllocPitch_v2, (CUdeviceptr*, size_t*, size_t, size_t, unsigned))              \
  F(cuMemAllocManaged, cuMemAllocManaged, (CUdeviceptr*, size_t, unsigned))                              \
  F(cuArrayCreate, cuArrayCreate_v2, (CUarray*, const CUDA_ARRAY_DESCRIPTOR*))                           \
  F(cuArrayDestroy, cuArrayDestroy, (CUarray))                                                           \
  F(cuMemFree, cuMemFree_v2, (CUdeviceptr))                                                              \
  F(cuMemAllocHost, cuMemAllocHost_v2, (void**, size_t))                                                 \
  F(cuMemFreeHost, cuMemFreeHost, (void*))                                                               \
  F(cuMemHostAlloc, cuMemHostAlloc, (void**, size_t, unsigned))                                          \
  F(cuMemHostRegister, cuMemHostRegister_v2, (void*, size_t, unsigned))                                  \
  F(cuMemHostUnregister, cuMemHostUnregister, (void*))                                                   \
  F(cuMemcpyHtoD, cuMemcpyHtoD_v2, (CUdeviceptr, const void*, size_t))                                   \
  F(cuMemcpyDtoH, cuMemcpyDtoH_v2, (void*, CUdeviceptr, size_t))                                         \
  F(cuMemcpyDtoD, cuMemcpyDtoD_v2, (CUdeviceptr, CUdeviceptr, size_t))                                   \
  F(cuMemcpyHtoDAsync, cuMemcpyHtoDAsync_v2, (CUdeviceptr, const void*, size_t, CUstream))               \
  F(cuMemcpyDtoHAsync, cuMemcpyDtoHAsync_v2, (void*, CUdeviceptr, size_t, CUstream))                     \
  F(cuMemcpy2D, cuMemcpy2D_v2, (const CUDA_MEMCPY2D*))                                                   \
  F(cuMemcpy2DUnaligned, cuMemcpy2DUnaligned_v2, (const CUDA_MEMCPY2D*))                                 \
  F(cuMemcpy2DAsync, cuMemcpy2DAsync_v2, (const CUDA_MEMCPY2D*, CUstream))                               \
  F(cuMemsetD8, cuMemsetD8_v2, (CUdeviceptr, unsigned char, size_t))                                     \
  F(cuMemsetD16, cuMemsetD16_v2, (CUdeviceptr, unsigned short, size_t))                                  \
  F(cuMemsetD32, cuMemsetD32_v2, (CUdeviceptr, unsigned, size_t))                                        \
  F(cuMemsetD2D8, cuMemsetD2D8_v2, (CUdeviceptr, size_t, unsigned char, size_t, size_t))                 \
  F(cuMemsetD2D16, cuMemsetD2D16_v2, (CUdeviceptr, size_t, unsigned short, size_t, size_t))              \
  F(cuMemsetD2D32, cuMemsetD2D32_v2, (CUdeviceptr, size_t, unsigned, size_t, size_t))                    \
  F(cuStreamCreate, cuStreamCreate, (CUstream*, unsigned))                                               \
  F(cuStreamDestroy, cuStreamDestroy_v2, (CUstream))                                                     \
  F(cuStreamQuery, cuStreamQuery, (CUstream))                                                            \
  F(cuStreamSynchronize, cuStreamSynchronize, (CUstream))                                                \
  F(cuStreamWaitEvent, cuStreamWaitEvent, (CUstream, CUevent, unsigned))                                 \
  F(cuLaunchHostFunc, cuLaunchHostFunc, (CUstream, CUhostFn, void*))                                     \
  F(cuEventCreate, cuEventCreate, (CUevent*, unsigned))                                                  \
  F(cuEventDestroy, cuEventDestroy_v2, (CUevent))                                                        \
  F(cuEventRecord, cuEventRecord, (CUevent, CUstream))                                                   \
  F(cuEventQuery, cuEventQuery, (CUevent))                                                               \
  F(cuEventSynchronize, cuEventSynchronize, (CUevent))                                                   \
  F(cuEventElapsedTime, cuEventElapsedTime, (float*, CUevent, CUevent))                                  \
  F(cuModuleLoadData, cuModuleLoadData, (CUmodule*, const void*))                                        \
  F(cuModuleLoadDataEx, cuModuleLoadDataEx, (CUmodule*, const void*, unsigned, int*, void**))            \
  F(cuModuleUnload, cuModuleUnload, (CUmodule))                                                          \
  F(cuModuleGetFunction, cuModuleGetFunction, (CUfunction*, CUmodule, const char*))                      \
  F(cuModuleGetGlobal, cuModuleGetGlobal_v2, (CUdeviceptr*, size_t*, CUmodule, const char*))             \
  F(cuLaunchKernel, cuLaunchKernel,                                                                      \
    (CUfunction, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, CUstream, void**, \
     void**))

#define CUDA_DECLARE(name, symbol, parameters) extern CUresult(*name) parameters;
CUDA_FUNCTIONS(CUDA_DECLARE)
#undef CUDA_DECLARE

// Opens libcuda and finds all functions above; ends the program with 1 when one is missing.
void LoadCuda(void);

// LoadCuda, cuInit, and a context on the first device, current for the calling thread.
CUcontext CreateFirstContext(void);

// Prints one line, so that the last one tells how far a program came.
void Step(const char* format, ...) __attribute__((format(printf, 1, 2)));

// Prints why, to standard error, and ends the program with 1.
void Fail(const char* format, ...) __attribute__((format(printf, 1, 2), noreturn));

// Fails, naming the call and the error, unless it succeeds.
#define CHECK(call) CheckResult(__FILE__, __LINE__, #call, call)
void CheckResult(const char* file, int line, const char* call, CUresult result);

// Runs `work` in a child process and fails when it does. For what ends in an error that a process keeps, as
// that of a failed launch; the caller itself must not have called cuInit, because its child could not use it.
void RunInChild(void (*work)(const void* data), const void* data);

// "CUDA_ERROR_OUT_OF_MEMORY", or a text that says that libcuda does not know it.
const char* ErrorName(CUresult result);

// `size` bytes of malloc's, or of calloc's; fails when there are none.
unsigned char* Allocate(size_t size);
unsigned char* AllocateZeros(size_t size);

// Fills `bytes` with numbers that do not repeat, that are never the same for two seeds, and that are the same
// in every run.
void Fill(unsigned char* bytes, size_t size, uint64_t seed);

// Fails at the first byte in which `actual` differs; `what` says of what.
void Compare(const char* what, const unsigned char* expected, const unsigned char* actual, size_t size);

#endif  // TESTING_CLIENTS_CUDA_H_
