#!/usr/bin/python3
"""Laws: every program of testing/clients ends well as a guest; so does one program 50 times in a row, 8 times at once in
one guest, and in 8 guests at once. Afterwards the broker holds nothing of them, has refused nothing, and the simulated
GPU was asked for nothing that it does not know. Memory that a process offers to one of another guest stays its own.

usage: client_suite.py CUDA NAME MEMORY_MIB VERSION SOCKET...: the folder of CUDA's runtime library and pynvml, what NVML
says of the GPU, and the sockets of 8 guests. Runs under testing/with-broker."""

import os
import subprocess
import sys
import time

sys.dont_write_bytecode = True  # the checkout is looked at, not written to
sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))
import guests  # noqa: E402

PROGRAMS = [
    ["query_devices"],
    ["copy_memory"],
    ["copy_2d"],
    ["set_memory"],
    ["host_memory"],
    ["streams_events"],
    ["blocking_waits"],
    ["threads"],
    ["load_module"],
    ["memory_info"],
    ["newer_calls"],
    ["managed_memory"],
    ["shared_memory"],
    ["refused_kernel"],
    ["cudart.py"],
    ["static_cudart.py"],
]

# Refusals that libraries of a driver version expect. From 550 on they try controls of NV2081_BINAPI, which go to the
# GPU's firmware and which no header describes; guests do not get those, and the libraries go on without.
PASSED_OVER = {"550.163.01": ["unknown_control"]}

# What is repeated: a context, streams, pageable and pinned memory, copies of up to so many bytes.
REPEATED = ["copy_memory", str(1 << 20)]
IN_A_ROW = 50
AT_ONCE = 8

# The most a program may take: a busy machine with few cores needs a tenth of it. It ends a hang, it measures nothing.
PROGRAM_TIMEOUT_S = 240


class Program:
    """A client program that runs as a guest; its output is kept, for when it fails."""

    def __init__(self, arguments, socket=guests.SOCKET):
        self.arguments = arguments
        command = [os.path.abspath(os.path.join("testing/clients", arguments[0])), *arguments[1:]]
        if arguments[0].endswith(".py"):
            command = [sys.executable, "-B", *command]
        # env itself is started without the shim, which comes in with the exec.
        self.process = subprocess.Popen(
            ["env", f"LD_PRELOAD={guests.PRELOAD}", f"NVSHIM_SOCKET={socket}", *command],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")

    def finish(self):
        try:
            output, _ = self.process.communicate(timeout=PROGRAM_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            output, _ = self.process.communicate()
            output += f"killed after {PROGRAM_TIMEOUT_S} s"
        if self.process.returncode != 0:
            lines = "\n".join(output.splitlines()[-20:])
            guests.fail(f"{' '.join(self.arguments)} ends with status {self.process.returncode}:\n{lines}")


def timed(what, work):
    start = time.monotonic()
    work()
    print(f"{what}: {time.monotonic() - start:.1f} s", flush=True)


def run_in_a_row():
    for _ in range(IN_A_ROW):
        Program(REPEATED).finish()


def run_at_once(sockets):
    for program in [Program(REPEATED, socket) for socket in sockets]:
        program.finish()


def check_nothing_unknown(stats, version):
    """Every request of the suite was known to the broker's tables and to the simulated driver."""
    passed_over = PASSED_OVER.get(version, [])
    unknown = {kind: count for worker in stats["workers"]
               for kind, count in worker["unknown_calls_total"].items() if count}
    refused = {reason: count for worker in stats["workers"] for guest in worker["guests"]
               for reason, count in guest["refusals_total"].items() if reason not in passed_over}
    if unknown or refused:
        guests.fail(f"asked for what the driver does not know: {unknown}; refused by the broker: {refused}; "
                    "the broker's log above names them")


def main():
    cuda, name, memory_mib, version, *sockets = sys.argv[1:]
    if len(sockets) != AT_ONCE:
        guests.fail(f"{len(sockets)} guests, {AT_ONCE} are needed")
    os.environ["LD_LIBRARY_PATH"] += f":{cuda}/lib"
    os.environ["PYTHONPATH"] = f"{cuda}/python"
    for arguments in PROGRAMS + [["nvml.py", name, memory_mib, version]]:
        timed(arguments[0], lambda one=arguments: Program(one).finish())
    timed(f"{IN_A_ROW} in a row", run_in_a_row)
    timed(f"{AT_ONCE} at once", lambda: run_at_once([guests.SOCKET] * AT_ONCE))
    timed(f"{AT_ONCE} guests at once", lambda: run_at_once(sockets))
    stats = guests.await_stats(guests.nothing_held, "all programs have ended and something is still held")
    if stats["guests"] != 1 + len(sockets):
        guests.fail(f"{stats['guests']} guests were served, {1 + len(sockets)} are right")
    check_nothing_unknown(stats, version)
    timed("two guests share nothing", Program(["shared_memory", sockets[0]]).finish)
    guests.await_stats(guests.nothing_held, "what one guest offered another is still held")


if __name__ == "__main__":
    main()
