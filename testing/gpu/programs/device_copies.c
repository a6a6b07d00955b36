// Laws: what is copied from device to device, or set there, is right whatever its size and its place;
// registered memory takes part in copies as other memory does; rectangles between two places of the device
// arrive, and nothing beside them changes. The driver uses kernels of its own for these.
#include <string.h>

#include "testing/gpu/programs/kit.h"

static const size_t kSizes[] = {1, 3, 4096, 4097, 65536, 1000003, 16 << 20, (64 << 20) - 1};
enum { kSizes_count = sizeof(kSizes) / sizeof(kSizes[0]), kSizeMax = 64 << 20, kOffset = 13, kPitch = 1024 };

typedef struct {
  unsigned char *sent, *received, *expected;
  CUdeviceptr from, to;
} Buffers;

static void CopyAcross(const Buffers* all, size_t size) {
  Fill(all->sent, size, size);
  memset(all->expected, 0x5a, size + 2 * kOffset);
  memcpy(all->expected + kOffset, all->sent, size);
  CHECK(cuMemcpyHtoD(all->from, all->sent, size));
  CHECK(cuMemsetD8(all->to, 0x5a, size + 2 * kOffset));
  CHECK(cuMemcpyDtoD(all->to + kOffset, all->from, size));
  CHECK(cuMemcpyDtoH(all->received, all->to, size + 2 * kOffset));
  CompareResult("device to device", all->expected, all->received, size + 2 * kOffset);
  Step("%zu bytes from device to device", size);
  Result("the copy", all->received, size + 2 * kOffset);
}

static void SetLarge(const Buffers* all) {
  const size_t count = (size_t)(8 << 20) + 1;
  uint32_t* expected = (uint32_t*)all->expected;
  for (size_t i = 0; i < count; ++i) expected[i] = 0xdeadbeef;
  CHECK(cuMemsetD32(all->to, 0xdeadbeef, count));
  CHECK(cuMemcpyDtoH(all->received, all->to, count * sizeof(uint32_t)));
  CompareResult("a large memset", expected, all->received, count * sizeof(uint32_t));
  Result("a memset of 32 MiB and 4 bytes", all->received, count * sizeof(uint32_t));
}

static void CopyRectangle(const Buffers* all) {
  const size_t whole = (size_t)512 * kPitch;
  CUDA_MEMCPY2D rectangle = {.srcXInBytes = 5,
                             .srcY = 3,
                             .srcMemoryType = CU_MEMORYTYPE_DEVICE,
                             .srcDevice = all->from,
                             .srcPitch = kPitch,
                             .dstXInBytes = 100,
                             .dstY = 7,
                             .dstMemoryType = CU_MEMORYTYPE_DEVICE,
                             .dstDevice = all->to,
                             .dstPitch = kPitch,
                             .WidthInBytes = 777,
                             .Height = 400};
  Fill(all->sent, whole, 4711);
  memset(all->expected, 0, whole);
  for (size_t y = 0; y < rectangle.Height; ++y)
    memcpy(all->expected + (rectangle.dstY + y) * kPitch + rectangle.dstXInBytes,
           all->sent + (rectangle.srcY + y) * kPitch + rectangle.srcXInBytes, rectangle.WidthInBytes);
  CHECK(cuMemcpyHtoD(all->from, all->sent, whole));
  CHECK(cuMemsetD8(all->to, 0, whole));
  CHECK(cuMemcpy2D(&rectangle));
  CHECK(cuMemcpyDtoH(all->received, all->to, whole));
  CompareResult("a rectangle", all->expected, all->received, whole);
  Result("a rectangle from device to device", all->received, whole);
}

// Both buffers are registered: the copy through the device goes from one to the other without a staging
// buffer.
static void CopyRegistered(const Buffers* all) {
  const size_t size = (size_t)(16 << 20) + 4096;
  Fill(all->sent, size, 99);
  memset(all->received, 0, size);
  CHECK(cuMemHostRegister(all->sent, kSizeMax, 0));
  CHECK(cuMemHostRegister(all->received, kSizeMax, 0));
  CUstream stream = NULL;
  CHECK(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
  CHECK(cuMemcpyHtoDAsync(all->from, all->sent, size, stream));
  CHECK(cuMemcpyDtoHAsync(all->received, all->from, size, stream));
  CHECK(cuStreamSynchronize(stream));
  Compare("registered memory", all->sent, all->received, size);
  CHECK(cuStreamDestroy(stream));
  CHECK(cuMemHostUnregister(all->received));
  CHECK(cuMemHostUnregister(all->sent));
  Step("registered memory is equal");
}

int main(void) {
  CUcontext context = StartKit();
  const size_t whole = (size_t)kSizeMax + 2 * kOffset;
  Buffers all = {Allocate(whole), Allocate(whole), Allocate(whole), 0, 0};
  CHECK(cuMemAlloc(&all.from, whole));
  CHECK(cuMemAlloc(&all.to, whole));
  for (int i = 0; i < kSizes_count; ++i) CopyAcross(&all, kSizes[i]);
  SetLarge(&all);
  CopyRectangle(&all);
  CopyRegistered(&all);
  CHECK(cuMemFree(all.from));
  CHECK(cuMemFree(all.to));
  CHECK(cuCtxDestroy(context));
  return 0;
}
