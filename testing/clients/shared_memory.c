// Laws: memory that a process offers to another one of its guest, as a handle (cuIpcGetMemHandle) or as a
// descriptor (cuMemExportToShareableHandle), is the same memory there: what either writes, the other reads.
// What came as a descriptor stays when the process that made it has let go of it.
//
// usage: shared_memory [SOCKET]
// With the socket of another guest, which the other process is then of: to that one neither names anything.
#include <string.h>
#include <unistd.h>

#include "testing/clients/cuda.h"
#include "testing/clients/pair.h"

enum {
  kCuda11_0 = 11000,
  kBytes = 2 << 20,  // the granularity of memory that a program maps itself
  kPinned = 1,       // CU_MEM_ALLOCATION_TYPE_PINNED
  kDescriptor = 1,   // CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR
  kReadWrite = 3,    // CU_MEM_ACCESS_FLAGS_PROT_READWRITE
  kLazy = 1,         // CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS
};

typedef struct {
  char reserved[64];
} IpcHandle;  // CUipcMemHandle

typedef struct {
  int type, id;
} Location;  // CUmemLocation
static const Location kFirstDevice = {1, 0};

typedef struct {
  int type, handle_types;
  Location location;
  void* win32;
  char rest[8];
} Properties;  // CUmemAllocationProp

typedef struct {
  Location location;
  int flags;
} Access;  // CUmemAccessDesc

static CUresult (*GetHandle)(IpcHandle*, CUdeviceptr);
static CUresult (*OpenHandle)(CUdeviceptr*, IpcHandle, unsigned);
static CUresult (*CloseHandle)(CUdeviceptr);
static CUresult (*Create)(uint64_t*, size_t, const Properties*, unsigned long long);
static CUresult (*Release)(uint64_t);
static CUresult (*Reserve)(CUdeviceptr*, size_t, size_t, CUdeviceptr, unsigned long long);
static CUresult (*Map)(CUdeviceptr, size_t, size_t, uint64_t, unsigned long long);
static CUresult (*Unmap)(CUdeviceptr, size_t);
static CUresult (*SetAccess)(CUdeviceptr, size_t, const Access*, size_t);
static CUresult (*Export)(void*, uint64_t, int, unsigned long long);
static CUresult (*Import)(uint64_t*, void*, int);

static void* Find(const char* name) {
  void* function = NULL;
  int status = -1;
  CHECK(cuGetProcAddress(name, &function, kCuda11_0, 0, &status));
  if (status != CU_GET_PROC_ADDRESS_SUCCESS) Fail("%s is found with status %d", name, status);
  return function;
}

static void Start(void) {
  CreateFirstContext();
  GetHandle = Find("cuIpcGetMemHandle");
  OpenHandle = Find("cuIpcOpenMemHandle");
  CloseHandle = Find("cuIpcCloseMemHandle");
  Create = Find("cuMemCreate");
  Release = Find("cuMemRelease");
  Reserve = Find("cuMemAddressReserve");
  Map = Find("cuMemMap");
  Unmap = Find("cuMemUnmap");
  SetAccess = Find("cuMemSetAccess");
  Export = Find("cuMemExportToShareableHandle");
  Import = Find("cuMemImportFromShareableHandle");
}

static CUdeviceptr MapWhole(uint64_t handle) {
  const Access access = {kFirstDevice, kReadWrite};
  CUdeviceptr address = 0;
  CHECK(Reserve(&address, kBytes, 0, 0, 0));
  CHECK(Map(address, kBytes, 0, handle, 0));
  CHECK(SetAccess(address, kBytes, &access, 1));
  return address;
}

static void Write(CUdeviceptr address, uint64_t seed) {
  unsigned char* bytes = Allocate(kBytes);
  Fill(bytes, kBytes, seed);
  CHECK(cuMemcpyHtoD(address, bytes, kBytes));
  CHECK(cuCtxSynchronize());
  free(bytes);
}

static void Expect(const char* what, CUdeviceptr address, uint64_t seed) {
  unsigned char *expected = Allocate(kBytes), *actual = Allocate(kBytes);
  Fill(expected, kBytes, seed);
  CHECK(cuMemcpyDtoH(actual, address, kBytes));
  Compare(what, expected, actual, kBytes);
  free(expected);
  free(actual);
}

// What the two processes have written.
enum { kOfferedAsHandle = 1, kOfferedAsDescriptor, kAnsweredAsHandle, kAnsweredAsDescriptor };

static const char* other_guest;  // its socket, or NULL

static void ExpectNothing(IpcHandle offered, int descriptor) {
  CUdeviceptr address = 0;
  uint64_t handle = 0;
  CUresult result = OpenHandle(&address, offered, kLazy);
  if (result == CUDA_SUCCESS) Fail("the memory of another guest is opened");
  Step("the handle: %s", ErrorName(result));
  result = Import(&handle, (void*)(intptr_t)descriptor, kDescriptor);
  if (result == CUDA_SUCCESS) Fail("the memory of another guest is imported");
  Step("the descriptor: %s", ErrorName(result));
}

static void Receiver(int socket) {
  IpcHandle offered;
  char byte = 0;
  CUdeviceptr address = 0;
  uint64_t handle = 0;
  Receive(socket, &offered, sizeof(offered));
  const int descriptor = ReceiveDescriptor(socket);
  if (other_guest != NULL && setenv("NVSHIM_SOCKET", other_guest, 1) != 0) Fail("no room for a variable");
  Start();
  if (other_guest != NULL) {
    ExpectNothing(offered, descriptor);
    return Send(socket, &byte, 1);
  }
  CHECK(OpenHandle(&address, offered, kLazy));
  Expect("offered as a handle", address, kOfferedAsHandle);
  Write(address, kAnsweredAsHandle);
  CHECK(CloseHandle(address));
  CHECK(Import(&handle, (void*)(intptr_t)descriptor, kDescriptor));
  close(descriptor);
  address = MapWhole(handle);
  Expect("offered as a descriptor", address, kOfferedAsDescriptor);
  Write(address, kAnsweredAsDescriptor);
  Send(socket, &byte, 1);
  Receive(socket, &byte, 1);  // the other process has let go of it
  Expect("what is left", address, kAnsweredAsDescriptor);
}

int main(int argc, char** argv) {
  pid_t pid = -1;
  other_guest = argc > 1 ? argv[1] : NULL;
  const int socket = StartPair(Receiver, &pid);
  const Properties properties = {kPinned, kDescriptor, kFirstDevice, NULL, {0}};
  IpcHandle offered;
  CUdeviceptr address = 0;
  uint64_t handle = 0;
  int descriptor = -1;
  char byte = 0;
  Start();
  CHECK(cuMemAlloc(&address, kBytes));
  CHECK(Create(&handle, kBytes, &properties, 0));
  const CUdeviceptr mapped = MapWhole(handle);
  Write(address, kOfferedAsHandle);
  Write(mapped, kOfferedAsDescriptor);
  CHECK(GetHandle(&offered, address));
  CHECK(Export(&descriptor, handle, kDescriptor, 0));
  Send(socket, &offered, sizeof(offered));
  SendDescriptor(socket, descriptor);
  close(descriptor);
  Receive(socket, &byte, 1);
  Expect("answered as a handle", address, other_guest == NULL ? kAnsweredAsHandle : kOfferedAsHandle);
  Expect("answered as a descriptor", mapped,
         other_guest == NULL ? kAnsweredAsDescriptor : kOfferedAsDescriptor);
  CHECK(Unmap(mapped, kBytes));
  CHECK(Release(handle));
  if (other_guest == NULL) Send(socket, &byte, 1);
  AwaitChild(pid);
  CHECK(cuMemFree(address));
  Step(other_guest == NULL ? "memory was shared" : "nothing was shared");
  return 0;
}
