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

SETTLE_S = 1.0  # what a new context still has to do is done by then


def report(name, value, unit):
    line = {"name": name, "value": round(value, 3), "unit": unit, "peer": None, "peer_value": None, "ratio": None}
    print(json.dumps(line), flush=True)


def stats():
    result = subprocess.run([os.environ["NVSHIM_BROKER"], "stats", "--socket", os.environ["NVSHIM_SOCKET"]],
                            stdout=subprocess.PIPE, check=True)
    return json.loads(result.stdout)


def ioctls():
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
        """Milliseconds of the next step."""
        print(file=self.process.stdin, flush=True)
        return float(self.process.stdout.readline())

    def finish(self):
        self.process.stdin.close()
        if self.process.wait() != 0:
            sys.exit("cuda_bench start failed")


def measure_programs(program, times):
    for name, command in (("nvidia-smi", ["nvidia-smi"]), ("context, copy, end", [program, "once"])):
        report(name, statistics.median(wall_ms(command) for _ in range(times)), "ms")


def measure_start(program, times):
    init_ms, create_ms, rates = [], [], []
    for _ in range(times):
        starting = Starting(program)
        init_ms.append(starting.go_on())
        before = ioctls()
        create_ms.append(starting.go_on())
        count = ioctls() - before
        rates.append(count / create_ms[-1] * 1e3)
        starting.finish()
    report("cuInit", statistics.median(init_ms), "ms")
    report("cuCtxCreate", statistics.median(create_ms), "ms")
    report("cuCtxCreate: ioctls", count, "1")
    report("cuCtxCreate: ioctls per second", statistics.median(rates), "1/s")


def measure_idle(program, duration_s):
    """What the worker, and the guest, do while nobody does anything with an open context."""
    starting = Starting(program)
    starting.go_on()
    starting.go_on()
    watched = {"worker": stats()["workers"][0]["pid"], "guest": starting.process.pid}
    time.sleep(SETTLE_S)
    before = {name: processes.work_of(pid) for name, pid in watched.items()}
    time.sleep(duration_s)
    for name, pid in watched.items():
        after = processes.work_of(pid)
        new = {"switches": 0, "cpu_s": 0.0}  # of a thread that has come in between
        work = {key: sum(after[thread][key] - before[name].get(thread, new)[key] for thread in after) for key in new}
        report(f"idle {name}, {len(after)} threads: wake-ups in {duration_s:g} s", work["switches"], "1")
        report(f"idle {name}, {len(after)} threads: CPU time in {duration_s:g} s", work["cpu_s"] * 1e3, "ms")
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
