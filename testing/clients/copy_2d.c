// Law: a rectangle copied between host and device arrives equal, whatever its width, where it lies on either
// side and how far apart the lines are there; and nothing beside it changes.
#include <string.h>

#include "testing/clients/cuda.h"

// Where a rectangle lies within the lines of one side, and how many bytes a line has there.
typedef struct {
  size_t x, y, pitch;
} Place;

typedef struct {
  size_t width, height;
  Place host, device;
} Rectangle;

// Widths and pitches that are multiples of nothing, and one that is the whole line on both sides.
static const Rectangle kRectangles[] = {
    {1, 1, {0, 0, 1}, {0, 0, 1}},
    {1, 300, {2, 1, 17}, {3, 0, 64}},
    {3, 5, {1, 2, 7}, {5, 3, 16}},
    {64, 64, {0, 0, 64}, {0, 0, 64}},
    {511, 33, {13, 4, 1024}, {1, 7, 513}},
    {1000, 1, {0, 9, 1000}, {24, 2, 1024}},
    {1021, 257, {3, 0, 1024}, {0, 1, 1536}},
    {4096, 512, {0, 0, 4096}, {128, 5, 8192}},
    {12289, 300, {31, 1, 12321}, {7, 2, 12800}},
};
enum { kRectangles_count = sizeof(kRectangles) / sizeof(kRectangles[0]) };

// Bytes of a side: all lines up to and with the last of the rectangle, and one more.
static size_t Bytes(const Rectangle* rectangle, const Place* place) {
  return place->pitch * (place->y + rectangle->height + 1);
}

static void CopyLines(const Rectangle* rectangle, unsigned char* to, const Place* at,
                      const unsigned char* from, const Place* from_at) {
  for (size_t line = 0; line < rectangle->height; ++line)
    memcpy(to + (at->y + line) * at->pitch + at->x, from + (from_at->y + line) * from_at->pitch + from_at->x,
           rectangle->width);
}

static void SetSource(CUDA_MEMCPY2D* copy, const Place* place) {
  copy->srcXInBytes = place->x;
  copy->srcY = place->y;
  copy->srcPitch = place->pitch;
}

static void SetDestination(CUDA_MEMCPY2D* copy, const Place* place) {
  copy->dstXInBytes = place->x;
  copy->dstY = place->y;
  copy->dstPitch = place->pitch;
}

// The copy of what `copy` writes to host memory laid out as where it came from.
static CUDA_MEMCPY2D Reversed(const CUDA_MEMCPY2D* copy, void* host) {
  CUDA_MEMCPY2D back = {.srcXInBytes = copy->dstXInBytes,
                        .srcY = copy->dstY,
                        .srcMemoryType = copy->dstMemoryType,
                        .srcDevice = copy->dstDevice,
                        .srcArray = copy->dstArray,
                        .srcPitch = copy->dstPitch,
                        .dstXInBytes = copy->srcXInBytes,
                        .dstY = copy->srcY,
                        .dstMemoryType = CU_MEMORYTYPE_HOST,
                        .dstHost = host,
                        .dstPitch = copy->srcPitch,
                        .WidthInBytes = copy->WidthInBytes,
                        .Height = copy->Height};
  return back;
}

static void Run(const CUDA_MEMCPY2D* copy, CUstream stream) {
  if (stream == NULL) {
    CHECK(cuMemcpy2DUnaligned(copy));  // cuMemcpy2D wants pitches that cuMemAllocPitch has chosen
  } else {
    CHECK(cuMemcpy2DAsync(copy, stream));
    CHECK(cuStreamSynchronize(stream));
  }
}

static void RoundTrip(const Rectangle* rectangle, CUstream stream) {
  const Place *at_host = &rectangle->host, *at_device = &rectangle->device;
  const size_t host_bytes = Bytes(rectangle, at_host), device_bytes = Bytes(rectangle, at_device);
  unsigned char *sent = Allocate(host_bytes), *received = Allocate(host_bytes);
  unsigned char *expected = Allocate(device_bytes), *seen = Allocate(device_bytes);
  CUdeviceptr device = 0;
  Step("%zu x %zu bytes, pitch %zu on the host, %zu on the device, %s", rectangle->width, rectangle->height,
       at_host->pitch, at_device->pitch, stream == NULL ? "synchronous" : "asynchronous");
  CHECK(cuMemAlloc(&device, device_bytes));

  Fill(sent, host_bytes, 1);
  Fill(expected, device_bytes, 2);
  CHECK(cuMemcpyHtoD(device, expected, device_bytes));
  CUDA_MEMCPY2D there = {.srcMemoryType = CU_MEMORYTYPE_HOST,
                         .srcHost = sent,
                         .dstMemoryType = CU_MEMORYTYPE_DEVICE,
                         .dstDevice = device,
                         .WidthInBytes = rectangle->width,
                         .Height = rectangle->height};
  SetSource(&there, at_host);
  SetDestination(&there, at_device);
  Run(&there, stream);
  CHECK(cuMemcpyDtoH(seen, device, device_bytes));
  CopyLines(rectangle, expected, at_device, sent, at_host);
  Compare("device memory", expected, seen, device_bytes);

  Fill(received, host_bytes, 3);
  const CUDA_MEMCPY2D back = Reversed(&there, received);
  Run(&back, stream);
  unsigned char* wanted = Allocate(host_bytes);
  Fill(wanted, host_bytes, 3);
  CopyLines(rectangle, wanted, at_host, sent, at_host);
  Compare("host memory", wanted, received, host_bytes);

  CHECK(cuMemFree(device));
  free(sent);
  free(received);
  free(expected);
  free(seen);
  free(wanted);
}

// With the pitch that libcuda itself chooses.
static void PitchedRoundTrip(size_t width, size_t height) {
  unsigned char *sent = Allocate(width * height), *received = AllocateZeros(width * height);
  CUdeviceptr device = 0;
  size_t pitch = 0;
  CHECK(cuMemAllocPitch(&device, &pitch, width, height, 4));
  Step("%zu x %zu bytes, pitch %zu of cuMemAllocPitch", width, height, pitch);
  if (pitch < width) Fail("a pitch of %zu is less than the width, %zu", pitch, width);
  Fill(sent, width * height, width);
  CUDA_MEMCPY2D there = {.srcMemoryType = CU_MEMORYTYPE_HOST,
                         .srcHost = sent,
                         .srcPitch = width,
                         .dstMemoryType = CU_MEMORYTYPE_DEVICE,
                         .dstDevice = device,
                         .dstPitch = pitch,
                         .WidthInBytes = width,
                         .Height = height};
  const CUDA_MEMCPY2D back = Reversed(&there, received);
  CHECK(cuMemcpy2D(&there));
  CHECK(cuMemcpy2D(&back));
  Compare("host memory", sent, received, width * height);
  CHECK(cuMemFree(device));
  free(sent);
  free(received);
}

// Writes all of an array, then a rectangle in its middle, and reads it back.
static void ArrayRoundTrip(size_t width, size_t height, int format, unsigned channels, size_t element) {
  const CUDA_ARRAY_DESCRIPTOR descriptor = {width, height, format, channels};
  const size_t pitch = width * element, bytes = pitch * height;
  unsigned char *sent = Allocate(bytes), *received = AllocateZeros(bytes);
  CUarray array = NULL;
  Step("%zu x %zu array, %zu bytes an element", width, height, element);
  CHECK(cuArrayCreate(&array, &descriptor));
  CUDA_MEMCPY2D there = {.srcMemoryType = CU_MEMORYTYPE_HOST,
                         .srcHost = sent,
                         .srcPitch = pitch,
                         .dstMemoryType = CU_MEMORYTYPE_ARRAY,
                         .dstArray = array,
                         .WidthInBytes = pitch,
                         .Height = height};
  CUDA_MEMCPY2D back = Reversed(&there, received);
  Fill(sent, bytes, width);
  CHECK(cuMemcpy2D(&there));
  CHECK(cuMemcpy2D(&back));
  Compare("the array", sent, received, bytes);

  // From a quarter of the way on, half of each side.
  Fill(sent, bytes, width + 1);
  const size_t x = width / 4 * element, y = height / 4;
  there.srcXInBytes = there.dstXInBytes = x;
  there.srcY = there.dstY = y;
  there.WidthInBytes = width / 2 * element;
  there.Height = height / 2;
  CHECK(cuMemcpy2D(&there));
  for (size_t line = y; line < y + there.Height; ++line)
    memcpy(received + line * pitch + x, sent + line * pitch + x, there.WidthInBytes);
  back.dstHost = sent;
  CHECK(cuMemcpy2D(&back));
  Compare("the array with another middle", received, sent, bytes);
  CHECK(cuArrayDestroy(array));
  free(sent);
  free(received);
}

int main(void) {
  CUcontext context = CreateFirstContext();
  CUstream stream = NULL;
  CHECK(cuStreamCreate(&stream, 0));
  for (int i = 0; i < kRectangles_count; ++i) {
    RoundTrip(&kRectangles[i], NULL);
    RoundTrip(&kRectangles[i], stream);
  }
  PitchedRoundTrip(1, 1);
  PitchedRoundTrip(333, 77);
  PitchedRoundTrip(1920 * 4, 1080);
  ArrayRoundTrip(64, 64, CU_AD_FORMAT_FLOAT, 1, 4);
  ArrayRoundTrip(257, 129, CU_AD_FORMAT_FLOAT, 4, 16);
  ArrayRoundTrip(1000, 37, CU_AD_FORMAT_UNSIGNED_INT8, 1, 1);
  CHECK(cuStreamDestroy(stream));
  CHECK(cuCtxDestroy(context));
  Step("all rectangles are equal");
  return 0;
}
