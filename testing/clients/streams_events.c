// Laws: work in one stream is done in order; a stream waits for an event of another one; queries tell what is
// done and what is not; times between events are never negative; host functions run in order, once; waits
// that block and waits that spin return. That one thing waits for another is proven by holding the first one
// up with a host function, not by time.
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "testing/clients/cuda.h"

enum {
  kStreams = 8,
  kRounds = 20,
  kBytes = 300007,
  kHostFunctions = 100,
};

// A host function that holds its stream up until the pipe's writer is closed or written to.
typedef struct {
  int reader, writer;
} Gate;

static Gate OpenGate(void) {
  int ends[2];
  if (pipe(ends) != 0) Fail("no pipe");
  return (Gate){ends[0], ends[1]};
}

static void WaitAtGate(void* data) {
  char byte;
  if (read(((Gate*)data)->reader, &byte, 1) != 1) Fail("the gate is broken");
}

static void LetPass(Gate* gate) {
  if (write(gate->writer, "", 1) != 1) Fail("the gate is broken");
}

static void ExpectNotReady(const char* what, CUresult result) {
  if (result != CUDA_ERROR_NOT_READY)
    Fail("%s has %d %s, CUDA_ERROR_NOT_READY is right", what, result, ErrorName(result));
}

// Copies through all streams at the same time, each with memory of its own.
static void CopyInStreams(const unsigned flags) {
  CUstream streams[kStreams];
  CUdeviceptr device[kStreams];
  unsigned char *sent[kStreams], *received[kStreams];
  for (int i = 0; i < kStreams; ++i) {
    CHECK(cuStreamCreate(&streams[i], flags));
    CHECK(cuMemAlloc(&device[i], kBytes));
    CHECK(cuMemAllocHost((void**)&sent[i], kBytes));
    CHECK(cuMemAllocHost((void**)&received[i], kBytes));
  }
  for (int round = 0; round < kRounds; ++round) {
    for (int i = 0; i < kStreams; ++i) {
      Fill(sent[i], kBytes, (uint64_t)round * kStreams + i);
      memset(received[i], 0, kBytes);
      CHECK(cuMemcpyHtoDAsync(device[i], sent[i], kBytes, streams[i]));
      CHECK(cuMemcpyDtoHAsync(received[i], device[i], kBytes, streams[i]));
    }
    for (int i = 0; i < kStreams; ++i) {
      CHECK(cuStreamSynchronize(streams[i]));
      CHECK(cuStreamQuery(streams[i]));
      Compare("the copy of a stream", sent[i], received[i], kBytes);
    }
  }
  for (int i = 0; i < kStreams; ++i) {
    CHECK(cuStreamDestroy(streams[i]));
    CHECK(cuMemFree(device[i]));
    CHECK(cuMemFreeHost(sent[i]));
    CHECK(cuMemFreeHost(received[i]));
  }
}

// One stream writes device memory, another one reads it, and the event between them is all that keeps the
// order.
static void WaitForAnotherStream(unsigned event_flags) {
  Gate gate = OpenGate();
  CUstream writer = NULL, reader = NULL;
  CUevent written = NULL;
  CUdeviceptr device = 0;
  unsigned char *sent = NULL, *received = NULL;
  CHECK(cuStreamCreate(&writer, CU_STREAM_NON_BLOCKING));
  CHECK(cuStreamCreate(&reader, CU_STREAM_NON_BLOCKING));
  CHECK(cuEventCreate(&written, event_flags));
  CHECK(cuMemAlloc(&device, kBytes));
  CHECK(cuMemAllocHost((void**)&sent, kBytes));
  CHECK(cuMemAllocHost((void**)&received, kBytes));
  for (int round = 0; round < kRounds; ++round) {
    Fill(sent, kBytes, 1000 + round);
    memset(received, 0, kBytes);
    CHECK(cuLaunchHostFunc(writer, WaitAtGate, &gate));
    CHECK(cuMemcpyHtoDAsync(device, sent, kBytes, writer));
    CHECK(cuEventRecord(written, writer));
    CHECK(cuStreamWaitEvent(reader, written, 0));
    CHECK(cuMemcpyDtoHAsync(received, device, kBytes, reader));
    ExpectNotReady("the event behind a closed gate", cuEventQuery(written));
    ExpectNotReady("the stream behind a closed gate", cuStreamQuery(writer));
    ExpectNotReady("the stream that waits for the event", cuStreamQuery(reader));
    LetPass(&gate);
    if (round % 2 == 0) {
      CHECK(cuEventSynchronize(written));
      CHECK(cuEventQuery(written));
    }
    CHECK(cuStreamSynchronize(reader));
    CHECK(cuStreamQuery(writer));
    Compare("what the other stream has written", sent, received, kBytes);
  }
  CHECK(cuEventDestroy(written));
  CHECK(cuStreamDestroy(writer));
  CHECK(cuStreamDestroy(reader));
  CHECK(cuMemFree(device));
  CHECK(cuMemFreeHost(sent));
  CHECK(cuMemFreeHost(received));
  close(gate.reader);
  close(gate.writer);
}

static void MeasureTime(CUstream stream) {
  CUevent start = NULL, end = NULL, untimed = NULL;
  CUdeviceptr device = 0;
  unsigned char* bytes = AllocateZeros(kBytes);
  float milliseconds = -1;
  CHECK(cuEventCreate(&start, 0));
  CHECK(cuEventCreate(&end, CU_EVENT_BLOCKING_SYNC));
  CHECK(cuEventCreate(&untimed, CU_EVENT_DISABLE_TIMING));
  CHECK(cuMemAlloc(&device, kBytes));
  for (int round = 0; round < kRounds; ++round) {
    CHECK(cuEventRecord(start, stream));
    CHECK(cuMemcpyHtoDAsync(device, bytes, kBytes, stream));
    CHECK(cuEventRecord(end, stream));
    CHECK(cuEventSynchronize(end));
    CHECK(cuEventElapsedTime(&milliseconds, start, end));
    // A minute: the copy takes far less on the slowest machine, and a clock of another unit takes more.
    if (!(milliseconds >= 0 && milliseconds < 60000)) Fail("a copy took %f ms", milliseconds);
  }
  Step("a copy of %d bytes took %f ms", kBytes, milliseconds);
  CHECK(cuEventRecord(untimed, stream));
  CHECK(cuEventSynchronize(untimed));
  const CUresult result = cuEventElapsedTime(&milliseconds, start, untimed);
  if (result != CUDA_ERROR_INVALID_HANDLE)
    Fail("the time of an event that keeps none has %d %s", result, ErrorName(result));
  CHECK(cuEventDestroy(start));
  CHECK(cuEventDestroy(end));
  CHECK(cuEventDestroy(untimed));
  CHECK(cuMemFree(device));
  free(bytes);
}

static int calls;  // written by one host function after the other, read after synchronising

static void Count(void* data) {
  if (calls++ != (int)(intptr_t)data)
    Fail("host function %d is called as number %d", (int)(intptr_t)data, calls);
}

static void CallHostFunctions(CUstream stream) {
  calls = 0;
  for (int i = 0; i < kHostFunctions; ++i) CHECK(cuLaunchHostFunc(stream, Count, (void*)(intptr_t)i));
  CHECK(cuStreamSynchronize(stream));
  if (calls != kHostFunctions) Fail("%d of %d host functions were called", calls, kHostFunctions);
}

static void Run(unsigned context_flags) {
  CUcontext context = NULL;
  CUdevice device = -1;
  CUstream stream = NULL;
  CHECK(cuDeviceGet(&device, 0));
  CHECK(cuCtxCreate(&context, context_flags, device));
  CHECK(cuStreamCreate(&stream, 0));
  Step("copies in streams");
  CopyInStreams(0);
  CopyInStreams(CU_STREAM_NON_BLOCKING);
  Step("a stream waits for an event of another one");
  WaitForAnotherStream(0);
  WaitForAnotherStream(CU_EVENT_BLOCKING_SYNC | CU_EVENT_DISABLE_TIMING);
  MeasureTime(stream);
  MeasureTime(NULL);
  Step("host functions");
  CallHostFunctions(stream);
  CHECK(cuStreamDestroy(stream));
  CHECK(cuCtxDestroy(context));
}

int main(void) {
  LoadCuda();
  CHECK(cuInit(0));
  Step("a context that spins");
  Run(0);
  Step("a context that blocks");
  Run(CU_CTX_SCHED_BLOCKING_SYNC);
  Step("streams and events keep the order");
  return 0;
}
