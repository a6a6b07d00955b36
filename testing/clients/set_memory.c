// Law: a memset of up to 4 KiB sets what it shall and nothing else. A larger one, which libcuda does with a
// kernel of its own, does the same or fails with CUDA_ERROR_LAUNCH_FAILED; it never leaves other data behind
// and says it went well.
#include <string.h>

#include "testing/clients/cuda.h"

// One memset: `height` lines of `width` units of `unit` bytes, `pitch` bytes apart, `offset` bytes into the
// memory. A height of 0 asks for the one-dimensional call.
typedef struct {
  size_t unit, offset, width, height, pitch;
} Set;

static const unsigned kValue = 0xa1b2c3d4;

static const Set kSmallSets[] = {
    {1, 0, 1, 0, 0},    {1, 3, 2, 0, 0},    {1, 1, 511, 0, 0},  {1, 0, 4096, 0, 0}, {1, 7, 4089, 0, 0},
    {2, 0, 1, 0, 0},    {2, 6, 333, 0, 0},  {2, 0, 2048, 0, 0}, {4, 0, 1, 0, 0},    {4, 12, 77, 0, 0},
    {4, 0, 1024, 0, 0}, {1, 0, 64, 64, 64}, {2, 2, 32, 16, 64}, {4, 8, 16, 9, 64},
};
enum { kSmallSets_count = sizeof(kSmallSets) / sizeof(kSmallSets[0]) };

static const Set kLargeSets[] = {
    {1, 3, 4097, 0, 0},
    {4, 0, 1 << 20, 0, 0},
    {1, 5, 13, 9, 29},
    {2, 2, 1000, 300, 2050},
};
enum { kLargeSets_count = sizeof(kLargeSets) / sizeof(kLargeSets[0]) };

static size_t Lines(const Set* set) { return set->height == 0 ? 1 : set->height; }

static size_t Bytes(const Set* set) {
  return set->offset + set->pitch * (Lines(set) - 1) + set->width * set->unit + 64;
}

static CUresult Run(const Set* set, CUdeviceptr memory) {
  const CUdeviceptr at = memory + set->offset;
  if (set->height == 0) switch (set->unit) {
      case 1:
        return cuMemsetD8(at, (unsigned char)kValue, set->width);
      case 2:
        return cuMemsetD16(at, (unsigned short)kValue, set->width);
      default:
        return cuMemsetD32(at, kValue, set->width);
    }
  switch (set->unit) {
    case 1:
      return cuMemsetD2D8(at, set->pitch, (unsigned char)kValue, set->width, set->height);
    case 2:
      return cuMemsetD2D16(at, set->pitch, (unsigned short)kValue, set->width, set->height);
    default:
      return cuMemsetD2D32(at, set->pitch, kValue, set->width, set->height);
  }
}

static void Expect(const Set* set, unsigned char* bytes) {
  for (size_t line = 0; line < Lines(set); ++line)
    for (size_t i = 0; i < set->width; ++i)
      memcpy(bytes + set->offset + line * set->pitch + i * set->unit, &kValue, set->unit);  // little-endian
}

// The first error of the set and of what follows it, CUDA_SUCCESS when the memory is as it has to be.
static CUresult TrySet(const Set* set) {
  const size_t bytes = Bytes(set);
  unsigned char *expected = Allocate(bytes), *seen = AllocateZeros(bytes);
  CUdeviceptr memory = 0;
  Step("%zu lines of %zu units of %zu bytes at offset %zu", Lines(set), set->width, set->unit, set->offset);
  CHECK(cuMemAlloc(&memory, bytes));
  Fill(expected, bytes, set->width);
  CHECK(cuMemcpyHtoD(memory, expected, bytes));
  CUresult result = Run(set, memory);
  if (result == CUDA_SUCCESS) result = cuCtxSynchronize();
  if (result == CUDA_SUCCESS) result = cuMemcpyDtoH(seen, memory, bytes);
  if (result == CUDA_SUCCESS) {
    Expect(set, expected);
    Compare("memory", expected, seen, bytes);
    CHECK(cuMemFree(memory));
  }
  free(expected);
  free(seen);
  return result;
}

static void SetSmall(const void* data) {
  (void)data;
  CUcontext context = CreateFirstContext();
  for (int i = 0; i < kSmallSets_count; ++i) CHECK(TrySet(&kSmallSets[i]));
  CHECK(cuCtxDestroy(context));
}

static void SetLarge(const void* set) {
  CUcontext context = CreateFirstContext();
  const CUresult result = TrySet(set);
  if (result == CUDA_SUCCESS) {
    CHECK(cuCtxDestroy(context));
    return;
  }
  if (result != CUDA_ERROR_LAUNCH_FAILED) Fail("the set fails with %d %s", result, ErrorName(result));
  Step("refused: %s", ErrorName(result));
}

int main(void) {
  RunInChild(SetSmall, NULL);
  for (int i = 0; i < kLargeSets_count; ++i) RunInChild(SetLarge, &kLargeSets[i]);
  Step("what was set is right");
  return 0;
}
