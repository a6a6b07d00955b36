#!/usr/bin/python3
"""Law: the CUDA runtime library works where it is linked statically into another one, as in most programs that nvcc builds.
Here it is inside NVIDIA's NPP, which tells the GPU's properties and allocates memory by it; copies by the driver API
into that memory come back equal, because both use the device's primary context. Ends with 1 where that does not hold."""

import ctypes
import random
import sys

SIZE = 1 << 20
MULTIPROCESSOR_COUNT, MAX_THREADS_PER_MULTIPROCESSOR = 16, 39  # CUdevice_attribute

# NPP's second library needs the first one's symbols.
nppc = ctypes.CDLL("libnppc.so.11", mode=ctypes.RTLD_GLOBAL)
npps = ctypes.CDLL("libnpps.so.11")
libcuda = ctypes.CDLL("libcuda.so.1")
nppc.nppGetGpuName.restype = ctypes.c_char_p
npps.nppsMalloc_8u.restype = ctypes.c_void_p


def expect(what, found, wanted):
    print(f"{what}: {found}", flush=True)
    if found != wanted:
        sys.exit(f"FAILED: {what} is {found!r}, {wanted!r} is right")


def attribute(number):
    value = ctypes.c_int()
    expect("cuDeviceGetAttribute", libcuda.cuDeviceGetAttribute(ctypes.byref(value), number, 0), 0)
    return value.value


def main():
    expect("cuInit", libcuda.cuInit(0), 0)
    name = ctypes.create_string_buffer(256)
    expect("cuDeviceGetName", libcuda.cuDeviceGetName(name, len(name), 0), 0)
    expect("name", nppc.nppGetGpuName(), name.value)
    expect("multiprocessors", nppc.nppGetGpuNumSMs(), attribute(MULTIPROCESSOR_COUNT))
    expect("threads", nppc.nppGetMaxThreadsPerSM(), attribute(MAX_THREADS_PER_MULTIPROCESSOR))

    memory = npps.nppsMalloc_8u(SIZE)
    if not memory:
        sys.exit("FAILED: nppsMalloc_8u returns no memory")
    sent, received = random.randbytes(SIZE), ctypes.create_string_buffer(SIZE)
    device, size = ctypes.c_uint64(memory), ctypes.c_size_t(SIZE)
    expect("cuMemcpyHtoD", libcuda.cuMemcpyHtoD_v2(device, sent, size), 0)
    expect("cuMemcpyDtoH", libcuda.cuMemcpyDtoH_v2(received, device, size), 0)
    expect("equal", received.raw == sent, True)
    npps.nppsFree(ctypes.c_void_p(memory))


if __name__ == "__main__":
    main()
