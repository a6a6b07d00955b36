#!/usr/bin/python3
"""What whole programs cost as guests, and what a context costs that does nothing. The inner part of testing/bench/run:
runs under testing/with-broker, and prints JSON lines as cuda_bench does."""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

sys.dont_write_bytecode = True  # the checkout is looked at, not written to
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), ".."))
import processes  # noqa: E402

# Only the programs that are measured are guests.
GUEST = dict(os.environ)
del os.environ["LD_PRELOAD"]

SHIM_THREAD = "nvshim-doorbell"
SETTLE_S = 1.0  # what a new context still has to do is done by then


def report(name, value, unit):
    line = {"name": name, "value": round(value, 3), "unit": unit, "peer": None, "peer_value": None, "ratio": None}
    print(json.dumps(line), flush=True)


def stats():
    result = subprocess.run([os.environ["NVSHIM_BROKERCTL"], "stats", "--socket", os.environ["NVSHIM_SOCKET"]],
                            stdout=subprocess.PIPE, check=True)
    return json.loads(result.stdout)


def ioctls_of_all():
    return sum(guest["ioctls_total"] for worker in stats()["workers"] for guest in worker["guests"])


def wall_ms(command):
    start = time.monotonic()
    subprocess.run(command, env=GUEST, stdout=subprocess.DEVNULL, check=True)
    return (time.monotonic() - start) * 1e3


class Starting:
    """A process of `cuda_bench start`, which is told when to go on."""

    def __init__(self, program):
        self.process = subprocess.Popen([program, "start"], env=GUEST, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True, bufsize=1)

    def go_on(self):
        """Of the next step: its milliseconds, its ioctls, and the milliseconds that they took."""
        print(file=self.process.stdin, flush=True)
        step_ms, ioctls, ioctls_ms = self.process.stdout.readline().split()
        return float(step_ms), int(ioctls), float(ioctls_ms)

    def finish(self):
        self.process.stdin.close()
        if self.process.wait() != 0:
            sys.exit("cuda_bench start failed")


def measure_programs(program, times):
    for name, command in (("nvidia-smi", ["nvidia-smi"]), ("context, copy, end", [program, "once"])):
        report(name, statistics.median(wall_ms(command) for _ in range(times)), "ms")


def measure_start(program, times):
    steps = {"cuInit": [], "cuCtxCreate": []}
    for _ in range(times):
        starting = Starting(program)
        for figures in steps.values():
            figures.append(starting.go_on())
        starting.finish()
    for name, figures in steps.items():
        step_ms, ioctls, ioctls_ms = (statistics.median(column) for column in zip(*figures))
        report(name, step_ms, "ms")
        report(f"{name}: ioctls", ioctls, "1")
        report(f"{name}: time in ioctls", ioctls_ms, "ms")
        report(f"{name}: ioctls per second in them", ioctls / ioctls_ms * 1e3, "1/s")


def work_between(before, after, is_meant):
    """Wake-ups and milliseconds of CPU of the threads that are meant."""
    none = {"switches": 0, "cpu_s": 0.0}  # of a thread that has come in between
    meant = {thread: work for thread, work in after.items() if is_meant(work["name"])}
    switches, cpu_s = (sum(work[key] - before.get(thread, none)[key] for thread, work in meant.items()) for key in none)
    return switches, cpu_s * 1e3


def measure_idle(program, duration_s):
    """What happens while a program does nothing with its open context. Its other threads are libcuda's own."""
    starting = Starting(program)
    starting.go_on()
    starting.go_on()
    worker = stats()["workers"][0]["pid"]
    pids = (worker, starting.process.pid)
    time.sleep(SETTLE_S)
    calls = ioctls_of_all()  # wakes the worker up, which is why it comes first
    before = [processes.work_of(pid) for pid in pids]
    time.sleep(duration_s)
    after = [processes.work_of(pid) for pid in pids]
    calls = ioctls_of_all() - calls
    for name, index, is_meant in (("worker", 0, lambda _: True),
                                  ("shim's thread", 1, lambda thread: thread == SHIM_THREAD),
                                  ("program's other threads", 1, lambda thread: thread != SHIM_THREAD)):
        if not any(is_meant(work["name"]) for work in after[index].values()):
            sys.exit(f"there is no such thread: {name}")
        switches, cpu_ms = work_between(before[index], after[index], is_meant)
        report(f"idle for {duration_s:g} s, {name}: wake-ups", switches, "1")
        report(f"idle for {duration_s:g} s, {name}: CPU time", cpu_ms, "ms")
    report(f"idle for {duration_s:g} s: ioctls of libcuda's own accord", calls, "1")
    starting.finish()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program", help="the path of cuda_bench")
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    arguments = parser.parse_args()
    times = 3 if arguments.quick else 15
    measure_programs(arguments.program, times)
    measure_start(arguments.program, times)
    measure_idle(arguments.program, 3.0 if arguments.quick else 30.0)


if __name__ == "__main__":
    main()
