#!/usr/bin/python3
"""Laws: CUDA's runtime library, used through ctypes as Python programs do, runs on the GPU: copies come back equal, over
streams too; events have an order; the properties of the device agree with its memory; after cudaDeviceReset all of it
works again. Ends with 1 where something does not hold."""

import ctypes
import random
import sys

LIBRARY = "libcudart.so.11.0"
HOST_TO_DEVICE, DEVICE_TO_HOST = 1, 2  # cudaMemcpyKind
SIZES = [1, 1023, 65536, 1 << 20, (16 << 20) + 3]

# Where cudaDeviceProp of 11.8 has its fields: name, totalGlobalMem, warpSize, major, minor; and more bytes than it has.
NAME, TOTAL_GLOBAL_MEM, WARP_SIZE, MAJOR, MINOR = 0, 288, 308, 360, 364
NAME_BYTES, PROPERTIES_BYTES = 256, 4096

cudart = ctypes.CDLL(LIBRARY)
cudart.cudaGetErrorName.restype = ctypes.c_char_p


def fail(message):
    sys.exit(f"FAILED: {message}")


def call(name, *arguments):
    result = getattr(cudart, name)(*arguments)
    if result != 0:
        fail(f"{name}: {result} {cudart.cudaGetErrorName(result).decode()}")


def pointer_from(name, *arguments):
    """What a function writes behind its first parameter."""
    pointer = ctypes.c_void_p()
    call(name, ctypes.byref(pointer), *arguments)
    return pointer


def memory_info():
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    call("cudaMemGetInfo", ctypes.byref(free), ctypes.byref(total))
    return free.value, total.value


def check_equal(what, sent, received):
    if bytes(received) != sent:
        fail(f"{what}: {len(sent)} bytes come back different")


def copy():
    for size in SIZES:
        sent = random.randbytes(size)
        received = ctypes.create_string_buffer(size)
        device = pointer_from("cudaMalloc", ctypes.c_size_t(size))
        call("cudaMemcpy", device, sent, ctypes.c_size_t(size), HOST_TO_DEVICE)
        call("cudaMemcpy", received, device, ctypes.c_size_t(size), DEVICE_TO_HOST)
        check_equal("cudaMemcpy", sent, received)
        call("cudaFree", device)


def copy_in_streams():
    size = ctypes.c_size_t(1 << 20)
    streams = [pointer_from("cudaStreamCreate") for _ in range(4)]
    work = []
    for stream in streams:
        sent = random.randbytes(size.value)
        start, end = pointer_from("cudaEventCreate"), pointer_from("cudaEventCreate")
        device, host = pointer_from("cudaMalloc", size), pointer_from("cudaMallocHost", size)
        ctypes.memmove(host, sent, size.value)
        call("cudaEventRecord", start, stream)
        call("cudaMemcpyAsync", device, host, size, HOST_TO_DEVICE, stream)
        call("cudaMemcpyAsync", host, device, size, DEVICE_TO_HOST, stream)
        call("cudaEventRecord", end, stream)
        work.append((stream, sent, start, end, device, host))
    for stream, sent, start, end, device, host in work:
        call("cudaEventSynchronize", end)
        call("cudaEventQuery", end)
        call("cudaStreamSynchronize", stream)
        milliseconds = ctypes.c_float(-1)
        call("cudaEventElapsedTime", ctypes.byref(milliseconds), start, end)
        if not milliseconds.value >= 0:
            fail(f"a copy took {milliseconds.value} ms")
        check_equal("cudaMemcpyAsync", sent, ctypes.string_at(host, size.value))
        call("cudaEventDestroy", start)
        call("cudaEventDestroy", end)
        call("cudaFree", device)
        call("cudaFreeHost", host)
        call("cudaStreamDestroy", stream)


def check_memory_info():
    size = 256 << 20
    before, total = memory_info()
    device = pointer_from("cudaMalloc", ctypes.c_size_t(size))
    held, _ = memory_info()
    call("cudaFree", device)
    after, _ = memory_info()
    if not held + size <= before == after <= total:
        fail(f"free memory is {before}, with {size} bytes allocated {held}, then {after}, of {total}")


def check_properties():
    properties = ctypes.create_string_buffer(PROPERTIES_BYTES)
    call("cudaGetDeviceProperties", properties, 0)
    raw = properties.raw
    name = raw[NAME:NAME + NAME_BYTES].split(b"\0", 1)[0].decode()
    total = ctypes.c_uint64.from_buffer_copy(raw, TOTAL_GLOBAL_MEM).value
    warp_size, major, minor = (ctypes.c_int.from_buffer_copy(raw, at).value for at in (WARP_SIZE, MAJOR, MINOR))
    print(f"{name}, {total} bytes, compute capability {major}.{minor}")
    if not name.startswith("NVIDIA ") or warp_size != 32 or major < 8:
        fail(f"properties: name '{name}', warps of {warp_size}, compute capability {major}.{minor}")
    if total != memory_info()[1]:
        fail(f"properties: {total} bytes, cudaMemGetInfo says {memory_info()[1]}")


def main():
    count = ctypes.c_int()
    call("cudaGetDeviceCount", ctypes.byref(count))
    if count.value != 1:
        fail(f"{count.value} devices")
    for work in (check_properties, copy, copy_in_streams, check_memory_info):
        print(work.__name__, flush=True)
        work()
    print("cudaDeviceReset", flush=True)
    call("cudaDeviceReset")
    copy()
    call("cudaDeviceReset")
    print("the runtime library works")


if __name__ == "__main__":
    main()
