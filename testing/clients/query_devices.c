// Asks NVIDIA's libcuda every question about devices that needs no context: cuInit, versions, counts, and all
// cuDeviceGet* queries of each device. Prints one line "name = value" per answer. It opens libcuda.so.1 at
// run time and declares what it uses itself, so that it builds without CUDA. Ends with 1 when a call fails
// that must succeed.
#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int CUresult;
typedef int CUdevice;
typedef struct {
  unsigned char bytes[16];
} CUuuid;
typedef struct {
  int max_threads_per_block, max_threads_dim[3], max_grid_size[3], shared_mem_per_block,
      total_constant_memory, simd_width, mem_pitch, regs_per_block, clock_rate, texture_align;
} CUdevprop;

enum {
  CUDA_SUCCESS = 0,
  CUDA_ERROR_INVALID_VALUE = 1,
  CUDA_ERROR_NOT_SUPPORTED = 801,
  // One above the last CUdevice_attribute of CUDA 12.2; later libraries know more.
  ATTRIBUTES = 136,
  BUS_ID_BYTES = 32,
};

static void* library;
static int failures;

static void Fail(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vfprintf(stderr, format, arguments);
  va_end(arguments);
  fputc('\n', stderr);
  ++failures;
}

// The function `name`, or null with a failure counted.
static void* Symbol(const char* name) {
  void* symbol = dlsym(library, name);
  if (symbol == NULL) Fail("libcuda has no %s", name);
  return symbol;
}

static int Good(const char* what, CUresult result) {
  if (result == CUDA_SUCCESS) return 1;
  Fail("%s: error %d", what, result);
  return 0;
}

static void Identity(CUdevice device) {
  char name[256] = "", bus_id[BUS_ID_BYTES] = "";
  CUuuid uuid = {{0}};
  size_t bytes = 0;
  CUdevice found = -1;
  CUresult (*get_name)(char*, int, CUdevice) = Symbol("cuDeviceGetName");
  CUresult (*get_uuid)(CUuuid*, CUdevice) = Symbol("cuDeviceGetUuid");
  CUresult (*total_mem)(size_t*, CUdevice) = Symbol("cuDeviceTotalMem_v2");
  CUresult (*get_bus_id)(char*, int, CUdevice) = Symbol("cuDeviceGetPCIBusId");
  CUresult (*by_bus_id)(CUdevice*, const char*) = Symbol("cuDeviceGetByPCIBusId");
  if (get_name && Good("cuDeviceGetName", get_name(name, sizeof(name), device))) printf("name = %s\n", name);
  if (get_uuid && Good("cuDeviceGetUuid", get_uuid(&uuid, device))) {
    printf("uuid = GPU-");
    for (int i = 0; i < 16; ++i)
      printf("%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", uuid.bytes[i]);
    printf("\n");
  }
  if (total_mem && Good("cuDeviceTotalMem", total_mem(&bytes, device))) printf("total memory = %zu\n", bytes);
  if (get_bus_id && Good("cuDeviceGetPCIBusId", get_bus_id(bus_id, sizeof(bus_id), device)))
    printf("pci bus id = %s\n", bus_id);
  if (by_bus_id && Good("cuDeviceGetByPCIBusId", by_bus_id(&found, bus_id)) && found != device)
    Fail("cuDeviceGetByPCIBusId: %s is device %d, not %d", bus_id, found, device);
}

static void Attributes(CUdevice device) {
  CUresult (*get_attribute)(int*, int, CUdevice) = Symbol("cuDeviceGetAttribute");
  if (get_attribute == NULL) return;
  for (int attribute = 1; attribute < ATTRIBUTES; ++attribute) {
    int value = 0;
    const CUresult result = get_attribute(&value, attribute, device);
    if (result == CUDA_SUCCESS) {
      printf("attribute %d = %d\n", attribute, value);
    } else if (result == CUDA_ERROR_INVALID_VALUE || result == CUDA_ERROR_NOT_SUPPORTED) {
      printf("attribute %d = (error %d)\n", attribute, result);  // a hole in the enumeration
    } else {
      Fail("cuDeviceGetAttribute %d: error %d", attribute, result);
    }
  }
}

static void Capabilities(CUdevice device) {
  int major = 0, minor = 0, active = 0, can = 0, supported = 0;
  unsigned flags = 0;
  CUdevprop properties;
  memset(&properties, 0, sizeof(properties));
  CUresult (*capability)(int*, int*, CUdevice) = Symbol("cuDeviceComputeCapability");
  CUresult (*get_properties)(CUdevprop*, CUdevice) = Symbol("cuDeviceGetProperties");
  CUresult (*context_state)(CUdevice, unsigned*, int*) = Symbol("cuDevicePrimaryCtxGetState");
  CUresult (*can_access)(int*, CUdevice, CUdevice) = Symbol("cuDeviceCanAccessPeer");
  CUresult (*affinity)(int*, int, CUdevice) = Symbol("cuDeviceGetExecAffinitySupport");
  if (capability && Good("cuDeviceComputeCapability", capability(&major, &minor, device)))
    printf("compute capability = %d.%d\n", major, minor);
  if (get_properties && Good("cuDeviceGetProperties", get_properties(&properties, device)))
    printf("properties = %d threads in a block, %d bytes of shared memory, clock %d kHz\n",
           properties.max_threads_per_block, properties.shared_mem_per_block, properties.clock_rate);
  if (context_state && Good("cuDevicePrimaryCtxGetState", context_state(device, &flags, &active)))
    printf("primary context = flags %u, active %d\n", flags, active);
  if (can_access && Good("cuDeviceCanAccessPeer", can_access(&can, device, device)))
    printf("can access itself as a peer = %d\n", can);
  // 0 = CU_EXEC_AFFINITY_TYPE_SM_COUNT
  if (affinity && Good("cuDeviceGetExecAffinitySupport", affinity(&supported, 0, device)))
    printf("execution affinity by SM count = %d\n", supported);
}

// Queries whose answer may be an error: what they say is printed.
static void Optional(CUdevice device) {
  char luid[8];
  unsigned mask = 0;
  int linear = 0;
  void* pool = NULL;
  CUresult (*get_luid)(char*, unsigned*, CUdevice) = dlsym(library, "cuDeviceGetLuid");
  CUresult (*default_pool)(void**, CUdevice) = dlsym(library, "cuDeviceGetDefaultMemPool");
  CUresult (*linear_size)(size_t*, int, unsigned, CUdevice) =
      dlsym(library, "cuDeviceGetTexture1DLinearMaxWidth");
  size_t width = 0;
  if (get_luid) printf("luid = (error %d)\n", get_luid(luid, &mask, device));  // Windows only
  if (default_pool) printf("default memory pool = (error %d)\n", default_pool(&pool, device));
  // 0x20 = CU_AD_FORMAT_FLOAT
  if (linear_size && (linear = linear_size(&width, 0x20, 1, device)) == CUDA_SUCCESS)
    printf("linear texture width = %zu\n", width);
  else
    printf("linear texture width = (error %d)\n", linear);
}

int main(void) {
  int version = 0, count = 0;
  library = dlopen("libcuda.so.1", RTLD_NOW);
  if (library == NULL) {
    fprintf(stderr, "%s\n", dlerror());
    return 1;
  }
  CUresult (*init)(unsigned) = Symbol("cuInit");
  CUresult (*get_version)(int*) = Symbol("cuDriverGetVersion");
  CUresult (*get_count)(int*) = Symbol("cuDeviceGetCount");
  CUresult (*get)(CUdevice*, int) = Symbol("cuDeviceGet");
  if (!init || !get_version || !get_count || !get) return 1;
  if (!Good("cuInit", init(0))) return 1;
  if (Good("cuDriverGetVersion", get_version(&version))) printf("driver version = %d\n", version);
  if (!Good("cuDeviceGetCount", get_count(&count))) return 1;
  printf("devices = %d\n", count);
  if (count == 0) Fail("no device");
  for (int ordinal = 0; ordinal < count; ++ordinal) {
    CUdevice device = -1;
    if (!Good("cuDeviceGet", get(&device, ordinal))) continue;
    printf("device = %d\n", device);
    Identity(device);
    Attributes(device);
    Capabilities(device);
    Optional(device);
  }
  return failures == 0 ? 0 : 1;
}
