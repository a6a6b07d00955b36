#!/usr/bin/python3
"""Laws of the system calls that guests with NVIDIA's libraries cause on the kernel driver. Runs under testing/with-broker;
the fake kernel writes them down (testing/fake_kernel/fake_kernel.h).

1. Only the guest's worker makes calls for it: RM looks at the process that does. The supervisor asks the version, opens
   the GPUs, and no more.
2. A file that carries a mapping is opened for it, given away, closed, and never used for anything else.
3. No call depends on the broker having been started by root: a control of root's is refused each time.
4. What concerns the whole machine is not asked of it, and no file is opened without waiting for the GPU.
5. Each file is closed that was opened, but for the GPU that each process of the broker keeps.
"""

import os
import re
import subprocess
import sys

sys.dont_write_bytecode = True  # the checkout is looked at, not written to
sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))
import client_suite  # noqa: E402
import guests  # noqa: E402

PROGRAMS = [
    ["query_devices"],
    ["copy_memory", str(1 << 20)],
    ["copy_2d"],
    ["host_memory"],
    ["streams_events"],
    ["blocking_waits"],
    ["threads"],
    ["load_module"],
    ["managed_memory"],
    ["shared_memory"],
    ["refused_kernel"],
]

ROOT_ONLY = "NV_ESC_RM_CONTROL 0x" + os.environ["NVSHIM_FAKE_ROOT_ONLY"]
NOT_ASKED = ("NV_ESC_SYS_PARAMS", "NV_ESC_NUMA_INFO", "NV_ESC_WAIT_OPEN_COMPLETE", "UVM_POPULATE_PAGEABLE")
REFUSED = "= 0x1b"  # NV_ERR_INSUFFICIENT_PERMISSIONS


def read_record():
    """{pid: its calls in order}, of the broker's processes."""
    calls = {}
    with open(os.environ["NVSHIM_FAKE_RECORD"], encoding="utf-8") as file:
        for line in file:
            if not line.endswith("\n"):
                break  # is being written
            pid, call = line.rstrip("\n").split(" ", 1)
            calls.setdefault(int(pid), []).append(call)
    return calls


def file_of(call):
    return call.split(" ")[1]


def check_mappings(calls):
    carriers = [match[1] for call in calls
                if (match := re.fullmatch(r"ioctl \d+ NV_ESC_RM_MAP_MEMORY onto (\d+) = 0x0", call))]
    if not carriers:
        guests.fail("no guest has mapped anything")
    used = {file_of(call) for call in calls if call.startswith("ioctl ")}
    if len(set(carriers)) != len(carriers) or used.intersection(carriers):
        guests.fail(f"a mapping is carried by a file with a history: {used.intersection(carriers)}")


def check_worker(calls):
    check_mappings(calls)
    if not any("NV_ESC_RM_ALLOC_MEMORY 0x71 = 0x0" in call for call in calls):
        guests.fail("no host memory was registered")
    privileged = [call for call in calls if ROOT_ONLY in call]
    if not privileged or any(not call.endswith(REFUSED) for call in privileged):
        guests.fail(f"a control of root's: {set(privileged)}")
    wrong = [call for call in calls if "O_NONBLOCK" in call or any(name in call for name in NOT_ASKED)]
    if wrong:
        guests.fail(f"calls that the machine should not see: {wrong[:5]}")


def only_the_gpu_is_open(calls):
    opened = [file_of(call) for call in calls if call.startswith("open ")]
    closed = {file_of(call) for call in calls if call.startswith("close ")}
    return [file for file in opened if file not in closed] == opened[1:2]  # the version's file was the first


def main():
    # Prints its process table without what only root may see.
    subprocess.run(["env", f"LD_PRELOAD={guests.PRELOAD}", "nvidia-smi"], stdout=subprocess.DEVNULL, check=True,
                   timeout=client_suite.PROGRAM_TIMEOUT_S)
    for arguments in PROGRAMS:
        client_suite.timed(arguments[0], lambda one=arguments: client_suite.Program(one).finish())
    guests.await_stats(guests.nothing_held, "all programs have ended and something is still held")
    # A file whose memory a guest maps is closed once the mapping is gone, which a process that dies may do last.
    guests.await_stats(lambda now: all(only_the_gpu_is_open(read_record().get(worker["pid"], []))
                                       for worker in now["workers"]),
                       "all programs have ended and files of the driver are still open")
    workers = {worker["pid"] for worker in guests.stats()["workers"]}
    record = read_record()
    if len(workers) != 1 or not workers < record.keys():
        guests.fail(f"workers {workers}, calls of {sorted(record)}")
    for pid, calls in record.items():
        if pid in workers:
            check_worker(calls)
        elif any(not re.search(r"^open|^close|CHECK_VERSION_STR$", call) for call in calls):
            guests.fail(f"process {pid} is no worker and makes calls: {calls[:10]}")


if __name__ == "__main__":
    main()
