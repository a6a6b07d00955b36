#!/usr/bin/python3
"""Not a law but a guest for limits.py: takes things of the driver's as lines of its standard input say, and answers
each with a line: "ok", an errno by name, or a status in hexadecimal. Structs are NVIDIA's (nvos.h, nv-ioctl.h).

    files N, clients N    opens /dev/nvidiactl, makes RM clients on the first file; stops at the first that fails
    objects N             NV01_DEVICE_0 and then pages of system memory, below the first client
    channel               AMPERE_CHANNEL_GPFIFO_A
    video N, pinned N     an allocation of N bytes
    free                  all clients, and all files but the first
    calls N               N questions that change nothing; answers with the milliseconds that they took, rounded up
    crowd N               such a question of each of N threads at the same time
"""

import ctypes
import errno
import fcntl
import math
import os
import struct
import sys
import threading
import time

RM_FREE, RM_ALLOC, RM_CONTROL = 0xC0104629, 0xC020462B, 0xC020462A
NV01_ROOT_CLIENT, NV01_DEVICE_0 = 0x41, 0x80
NV01_MEMORY_SYSTEM, NV01_MEMORY_LOCAL_USER, AMPERE_CHANNEL_GPFIFO_A = 0x3E, 0x40, 0xC56F
PAGE = 4096

files, clients, handles = [], [], iter(range(0x5C000001, 0x5D000000))


class Refused(Exception):
    pass


def check(status):
    if status != 0:
        raise Refused(f"{status:#x}")


def alloc(client, parent, handle, rm_class, params=b""):
    buffer = ctypes.create_string_buffer(params, len(params)) if params else None
    address = ctypes.addressof(buffer) if buffer else 0
    call = bytearray(struct.pack("=IIIIQII", client, parent, handle, rm_class, address, len(params), 0))
    fcntl.ioctl(files[0], RM_ALLOC, call)
    check(struct.unpack_from("=I", call, 28)[0])
    return struct.unpack_from("=I", call, 8)[0]


def free(client):
    call = bytearray(struct.pack("=IIII", client, client, client, 0))
    fcntl.ioctl(files[0], RM_FREE, call)
    check(struct.unpack_from("=I", call, 12)[0])


def new_file():
    files.append(os.open("/dev/nvidiactl", os.O_RDWR))


def new_client():
    clients.append([alloc(0, 0, 0, NV01_ROOT_CLIENT), None])


def device():
    """Of the first client; made when it is asked for."""
    if not clients:
        new_client()
    client = clients[0]
    if client[1] is None:
        client[1] = alloc(client[0], client[0], next(handles), NV01_DEVICE_0, bytes(56))
    return client


def new_object():
    if not clients or clients[0][1] is None:
        device()
        return
    new_memory(NV01_MEMORY_SYSTEM, PAGE)


def new_memory(rm_class, size):
    client, parent = device()
    params = bytearray(120)
    struct.pack_into("=Q", params, 64, size)
    if rm_class == NV01_MEMORY_SYSTEM:
        struct.pack_into("=I", params, 24, 1 << 25)  # attr: NVOS32_ATTR_LOCATION_PCI
    alloc(client, parent, next(handles), rm_class, bytes(params))


def new_channel():
    client, parent = device()
    alloc(client, parent, next(handles), AMPERE_CHANNEL_GPFIFO_A, bytes(360))


def free_all():
    for client, _ in clients:
        free(client)
    clients.clear()
    for file in files[1:]:
        os.close(file)
    del files[1:]


def call_often(count):
    start = time.monotonic()
    for _ in range(count):
        fcntl.ioctl(files[0], RM_CONTROL, bytearray(struct.pack("=IIIIQII", 0, 0, 0, 0, 0, 0, 0)))
    return math.ceil((time.monotonic() - start) * 1000)


def ask_together(count):
    threads = [threading.Thread(target=call_often, args=[1]) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def repeat(what, count):
    for _ in range(count):
        what()


def do(command, amount=1):
    actions = {
        "files": lambda: repeat(new_file, amount),
        "clients": lambda: repeat(new_client, amount),
        "objects": lambda: repeat(new_object, amount),
        "channel": new_channel,
        "video": lambda: new_memory(NV01_MEMORY_LOCAL_USER, amount),
        "pinned": lambda: new_memory(NV01_MEMORY_SYSTEM, amount),
        "free": free_all,
        "calls": lambda: call_often(amount),
        "crowd": lambda: ask_together(amount),
    }
    try:
        took = actions[command]()
    except OSError as error:
        return errno.errorcode[error.errno]
    except Refused as refused:
        return str(refused)
    return "ok" if took is None else str(took)


def main():
    for line in sys.stdin:
        words = line.split()
        print(do(words[0], *map(int, words[1:])), flush=True)
    print("done", flush=True)


if __name__ == "__main__":
    main()
