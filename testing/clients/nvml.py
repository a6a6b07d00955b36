#!/usr/bin/python3
"""Laws: NVML, used through pynvml, names the GPU and its memory as nvidia-smi does, its UUID is the same by every way to
the device, and it knows of no process that computes when there is none. Ends with 1 where something does not hold.

usage: nvml.py NAME MEMORY_MIB DRIVER_VERSION"""

import re
import sys

import pynvml


def expect(what, found, wanted):
    print(f"{what}: {found}", flush=True)
    if found != wanted:
        sys.exit(f"FAILED: {what} is {found!r}, {wanted!r} is right")


def main():
    name, memory_mib, driver_version = sys.argv[1:]
    pynvml.nvmlInit()
    expect("driver version", pynvml.nvmlSystemGetDriverVersion(), driver_version)
    expect("devices", pynvml.nvmlDeviceGetCount(), 1)
    device = pynvml.nvmlDeviceGetHandleByIndex(0)
    expect("name", pynvml.nvmlDeviceGetName(device), name)
    memory = pynvml.nvmlDeviceGetMemoryInfo(device)
    expect("total MiB", memory.total >> 20, int(memory_mib))
    expect("used and free is all", memory.used + memory.free, memory.total)

    uuid = pynvml.nvmlDeviceGetUUID(device)
    if not re.fullmatch(r"GPU-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", uuid):
        sys.exit(f"FAILED: '{uuid}' is no UUID")
    bus_id = pynvml.nvmlDeviceGetPciInfo(device).busId
    for same in (pynvml.nvmlDeviceGetHandleByUUID(uuid), pynvml.nvmlDeviceGetHandleByPciBusId(bus_id)):
        expect("UUID", pynvml.nvmlDeviceGetUUID(same), uuid)
        expect("index", pynvml.nvmlDeviceGetIndex(same), 0)
    expect("processes that compute", pynvml.nvmlDeviceGetComputeRunningProcesses(device), [])
    expect("processes that draw", pynvml.nvmlDeviceGetGraphicsRunningProcesses(device), [])
    pynvml.nvmlShutdown()


if __name__ == "__main__":
    main()
