// Law: memory that one process exports as a descriptor (cuMemExportToShareableHandle) is the same memory in
// another process that received it over a socket: what either writes, the other reads. It lives as long as
// one of them has it.
#include <unistd.h>

#include "testing/clients/pair.h"
#include "testing/gpu/programs/kit.h"

static const CUmemAccessDesc kAccess = {{CU_MEM_LOCATION_TYPE_DEVICE, 0}, CU_MEM_ACCESS_FLAGS_PROT_READWRITE};

static CUdeviceptr Map(CUmemHandle handle, size_t size) {
  CUdeviceptr address = 0;
  CHECK(cuMemAddressReserve(&address, size, 0, 0, 0));
  CHECK(cuMemMap(address, size, 0, handle, 0));
  CHECK(cuMemSetAccess(address, size, &kAccess, 1));
  return address;
}

static void Import(int socket) {
  size_t size = 0;
  char byte = 0;
  Receive(socket, &size, sizeof(size));
  const int descriptor = ReceiveDescriptor(socket);
  StartKit();
  CUmemHandle handle = 0;
  CHECK(cuMemImportFromShareableHandle(&handle, (void*)(intptr_t)descriptor,
                                       CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR));
  close(descriptor);
  const CUdeviceptr address = Map(handle, size);
  unsigned char *expected = Allocate(size), *received = Allocate(size);
  Fill(expected, size, 1);
  CHECK(cuMemcpyDtoH(received, address, size));
  Compare("what the other process wrote", expected, received, size);
  Fill(expected, size, 2);
  CHECK(cuMemcpyHtoD(address, expected, size));
  CHECK(cuCtxSynchronize());
  Send(socket, &byte, 1);
  Receive(socket, &byte, 1);  // the other process has let go of it
  CHECK(cuMemcpyDtoH(received, address, size));
  Compare("what is left", expected, received, size);
}

int main(void) {
  pid_t pid = -1;
  const int socket = StartPair(Import, &pid);
  CUcontext context = StartKit();
  if (Attribute(CU_DEVICE_ATTRIBUTE_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR_SUPPORTED) == 0)
    NotApplicable("the GPU's memory cannot be exported as a descriptor");
  const CUmemAllocationProp properties = {.type = CU_MEM_ALLOCATION_TYPE_PINNED,
                                          .requestedHandleTypes = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR,
                                          .location = {CU_MEM_LOCATION_TYPE_DEVICE, 0}};
  size_t size = 0;
  int descriptor = -1;
  char byte = 0;
  CUmemHandle handle = 0;
  CHECK(cuMemGetAllocationGranularity(&size, &properties, 0));
  CHECK(cuMemCreate(&handle, size, &properties, 0));
  const CUdeviceptr address = Map(handle, size);
  unsigned char *expected = Allocate(size), *received = Allocate(size);
  Fill(expected, size, 1);
  CHECK(cuMemcpyHtoD(address, expected, size));
  CHECK(cuCtxSynchronize());
  CHECK(cuMemExportToShareableHandle(&descriptor, handle, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0));
  Send(socket, &size, sizeof(size));
  SendDescriptor(socket, descriptor);
  close(descriptor);
  Receive(socket, &byte, 1);
  Fill(expected, size, 2);
  CHECK(cuMemcpyDtoH(received, address, size));
  Compare("what the other process wrote back", expected, received, size);
  CHECK(cuMemUnmap(address, size));
  CHECK(cuMemRelease(handle));
  CHECK(cuMemAddressFree(address, size));
  CHECK(cuCtxDestroy(context));
  Send(socket, &byte, 1);
  AwaitChild(pid);
  Step("%zu bytes were shared", size);
  return 0;
}
