// Laws: memory that the program maps itself (cuMemCreate, cuMemMap) holds what is written to it, at every
// address at which it is mapped, and stays when one of them is gone; several pieces side by side are one
// range for kernels and copies.
#include <string.h>

#include "testing/gpu/programs/kit.h"

enum { kPieces = 8, kRounds = 100 };

int main(void) {
  CUcontext context = StartKit();
  if (Attribute(CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED) == 0)
    NotApplicable("the GPU has no virtual memory management");
  CUmodule module = LoadKernels();
  CUfunction mix = FindKernel(module, "mix");
  const CUmemAllocationProp properties = {.type = CU_MEM_ALLOCATION_TYPE_PINNED,
                                          .location = {CU_MEM_LOCATION_TYPE_DEVICE, 0}};
  const CUmemAccessDesc access = {{CU_MEM_LOCATION_TYPE_DEVICE, 0}, CU_MEM_ACCESS_FLAGS_PROT_READWRITE};
  size_t piece = 0;
  CHECK(cuMemGetAllocationGranularity(&piece, &properties, 0));
  const size_t whole = piece * kPieces;
  CUmemHandle handles[kPieces];
  CUdeviceptr range = 0, alias = 0;
  CHECK(cuMemAddressReserve(&range, whole, 0, 0, 0));
  CHECK(cuMemAddressReserve(&alias, piece, 0, 0, 0));
  for (int i = 0; i < kPieces; ++i) {
    CHECK(cuMemCreate(&handles[i], piece, &properties, 0));
    CHECK(cuMemMap(range + (size_t)i * piece, piece, 0, handles[i], 0));
  }
  CHECK(cuMemMap(alias, piece, 0, handles[kPieces - 1], 0));
  CHECK(cuMemSetAccess(range, whole, &access, 1));
  CHECK(cuMemSetAccess(alias, piece, &access, 1));
  Step("%d pieces of %zu bytes", kPieces, piece);

  uint32_t count = (uint32_t)(whole / sizeof(uint32_t)), rounds = kRounds;
  uint32_t *values = (uint32_t*)Allocate(whole), *last = (uint32_t*)Allocate(piece);
  for (uint32_t i = 0; i < count; ++i) values[i] = i;
  CHECK(cuMemcpyHtoD(range, values, whole));
  CHECK(cuMemcpyDtoH(last, alias, piece));
  Compare("the alias", (unsigned char*)values + whole - piece, (unsigned char*)last, piece);
  void* parameters[] = {&range, &count, &rounds};
  Launch(mix, count, NULL, parameters);
  for (uint32_t i = 0; i < count; ++i) values[i] = Mixed(i, kRounds);
  unsigned char* received = Allocate(whole);
  CHECK(cuMemcpyDtoH(received, range, whole));
  CompareResult("the range", values, received, whole);
  Result("the range", received, whole);

  CHECK(cuMemUnmap(range, whole));
  CHECK(cuMemcpyDtoH(last, alias, piece));
  CompareResult("the alias, alone", (unsigned char*)values + whole - piece, last, piece);
  Result("the alias, alone", last, piece);
  CHECK(cuMemUnmap(alias, piece));
  for (int i = 0; i < kPieces; ++i) CHECK(cuMemRelease(handles[i]));
  CHECK(cuMemAddressFree(alias, piece));
  CHECK(cuMemAddressFree(range, whole));
  CHECK(cuCtxDestroy(context));
  return 0;
}
