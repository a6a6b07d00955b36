// Law: what is copied to the GPU comes back equal, whatever the size, wherever it begins on either side, from
// pageable and from pinned memory, in a call that waits and in one that does not. Nothing beside the copied
// bytes changes.
// usage: copy_memory [BYTES]: no copies of more than so many bytes.
#include <string.h>

#include "testing/clients/cuda.h"

// Around what libcuda treats differently: inline data, a page, its staging buffer, several chunks of it.
static const size_t kSizes[] = {1,     2,      3,       4,       511,           4095,     4096,          4097,
                                65536, 100003, 1 << 20, 4 << 20, (4 << 20) + 1, 16 << 20, (32 << 20) - 1};
enum { kSizes_count = sizeof(kSizes) / sizeof(kSizes[0]) };

// Up to this size copies are cheap enough to begin at every place of kOffsets.
enum { kManyTimesMax = 1 << 20 };

// The largest copy takes a while and memory: once for each kind of memory.
static const size_t kSizeMax = 256 << 20;

// Where a copy begins on the host and on the device. Odd, so that no unit of copying fits.
static const size_t kOffsets[][2] = {{0, 0}, {5, 0}, {0, 3}, {7, 13}};
enum { kOffsets_count = sizeof(kOffsets) / sizeof(kOffsets[0]), kOffsetMax = 13 };

// Bytes after the copy that must stay as they are.
enum { kGuard = 16 };

// Host memory for a round trip: what is sent, what arrives, and what has to arrive.
typedef struct {
  const char* kind;
  unsigned char *sent, *received;
  unsigned char* expected;
} Buffers;

static void Copy(const Buffers* host, CUdeviceptr device, size_t size, size_t at_host, size_t at_device,
                 CUstream stream) {
  const size_t whole = kOffsetMax + size + kGuard;
  Fill(host->sent, whole, size + at_host);
  memset(host->received, 0xee, whole);
  memset(host->expected, 0xee, whole);
  memcpy(host->expected + at_device, host->sent + at_host, size);
  if (stream == NULL) {
    CHECK(cuMemcpyHtoD(device + at_device, host->sent + at_host, size));
    CHECK(cuMemcpyDtoH(host->received + at_device, device + at_device, size));
  } else {
    CHECK(cuMemcpyHtoDAsync(device + at_device, host->sent + at_host, size, stream));
    CHECK(cuMemcpyDtoHAsync(host->received + at_device, device + at_device, size, stream));
    CHECK(cuStreamSynchronize(stream));
  }
  Compare(host->kind, host->expected, host->received, whole);
}

static void CopyAllSizes(const Buffers* host, size_t size_max, CUstream stream) {
  for (int i = 0; i < kSizes_count && kSizes[i] <= size_max; ++i) {
    CUdeviceptr device = 0;
    Step("%zu bytes of %s memory, %s", kSizes[i], host->kind,
         stream == NULL ? "synchronous" : "asynchronous");
    CHECK(cuMemAlloc(&device, kSizes[i] + kOffsetMax));
    // Large ones once, at the oddest places: they differ from smaller ones in number of chunks alone.
    for (int j = kSizes[i] > kManyTimesMax ? kOffsets_count - 1 : 0; j < kOffsets_count; ++j)
      Copy(host, device, kSizes[i], kOffsets[j][0], kOffsets[j][1], stream);
    CHECK(cuMemFree(device));
  }
}

static void CopyLargest(const Buffers* host, CUstream stream) {
  CUdeviceptr device = 0;
  Step("%zu bytes of %s memory", kSizeMax, host->kind);
  CHECK(cuMemAlloc(&device, kSizeMax + kOffsetMax));
  Copy(host, device, kSizeMax, 1, 2, stream);
  CHECK(cuMemFree(device));
}

int main(int argc, char** argv) {
  const size_t size_max = argc > 1 ? strtoull(argv[1], NULL, 10) : kSizeMax;
  const size_t whole = size_max + kOffsetMax + kGuard;
  CUcontext context = CreateFirstContext();
  CUstream stream = NULL;
  unsigned char* expected = Allocate(whole);
  Buffers pageable = {"pageable", Allocate(whole), Allocate(whole), expected};
  Buffers pinned = {"pinned", NULL, NULL, expected};
  CHECK(cuMemAllocHost((void**)&pinned.sent, whole));
  CHECK(cuMemAllocHost((void**)&pinned.received, whole));
  CHECK(cuStreamCreate(&stream, 0));
  CopyAllSizes(&pageable, size_max, NULL);
  CopyAllSizes(&pageable, size_max, stream);
  CopyAllSizes(&pinned, size_max, NULL);
  CopyAllSizes(&pinned, size_max, stream);
  if (size_max == kSizeMax) {
    CopyLargest(&pageable, NULL);
    CopyLargest(&pinned, stream);
  }
  CHECK(cuStreamDestroy(stream));
  CHECK(cuMemFreeHost(pinned.sent));
  CHECK(cuMemFreeHost(pinned.received));
  CHECK(cuCtxDestroy(context));
  Step("all copies are equal");
  return 0;
}
