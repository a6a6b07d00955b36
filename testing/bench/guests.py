#!/usr/bin/python3
"""What guests cost: to arrive, to leave, and many of them at once, with a worker each and in one worker. Starts brokers
with a named socket for each guest, on another CPU than guest_bench, which plays the guests. Prints JSON lines."""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True  # the checkout is looked at, not written to
HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, os.path.join(HERE, ".."))
import processes  # noqa: E402

CALLS_PER_SECOND = 5000  # equal total load, however many guests share it
SETTLE_S = 1.0           # a worker that has just served somebody is asleep by then
FILES_PER_GUEST = 8      # of guest_bench and of a worker that has all guests
MEMORY_PER_WORKER_KIB = 4096  # with its page tables; what bounds the number of workers here


def report(name, value, unit, peer=None, peer_value=None):
    ratio = round(value / peer_value, 4) if peer_value else None
    print(json.dumps({"name": name, "value": round(value, 4), "unit": unit, "peer": peer,
                      "peer_value": peer_value, "ratio": ratio}), flush=True)


# ---- Under a broker ----


def children(pid):
    return [int(child) for child in processes.read(f"/proc/{pid}/task/{pid}/children").split()]


def broker_processes():
    """The supervisor and its workers: relatives of this process, which testing/with-broker has started as well."""
    name = os.path.basename(os.environ["NVSHIM_BROKER"])
    supervisor, = (pid for pid in children(os.getppid()) if os.readlink(f"/proc/{pid}/exe").endswith(name))
    return supervisor, children(supervisor)


def work(pids):
    """Wake-ups and seconds of CPU of all threads of these processes."""
    threads = [thread for pid in pids for thread in processes.work_of(pid).values()]
    return sum(thread["switches"] for thread in threads), sum(thread["cpu_s"] for thread in threads)


def private_kib(pid):
    memory = processes.fields(f"/proc/{pid}/smaps_rollup")
    return int(memory["Private_Clean"]) + int(memory["Private_Dirty"])


class Load:
    def __init__(self, program, folder, count):
        start = time.monotonic()
        self.process = subprocess.Popen(["taskset", "-c", "0", program, "load", folder, str(count)], text=True, bufsize=1,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        if self.process.stdout.readline() != "ready\n":
            sys.exit("guest_bench load failed")
        self.attach_s = time.monotonic() - start

    def run(self, *order):
        print(*order, file=self.process.stdin, flush=True)
        return json.loads(self.process.stdout.readline())

    def finish(self):
        self.process.stdin.close()
        if self.process.wait() != 0:
            sys.exit("guest_bench load failed")


def measure_load(arguments):
    """One number of guests at one broker."""
    count, seconds = arguments.count, arguments.seconds
    name = f"guests {count} {arguments.workers}"
    load = Load(arguments.program, arguments.folder, count)
    supervisor, workers = broker_processes()
    time.sleep(SETTLE_S)
    before = [work([supervisor]), work(workers)]
    time.sleep(arguments.idle)
    after = [work([supervisor]), work(workers)]
    for who, index in (("supervisor", 0), ("workers", 1)):
        report(f"{name}: idle for {arguments.idle:g} s, wake-ups of {who}", after[index][0] - before[index][0], "1")
    report(f"{name}: private memory per guest", sum(private_kib(pid) for pid in workers) / count, "KiB")
    report(f"{name}: private memory of the supervisor", private_kib(supervisor), "KiB")

    one = load.run("hot", 1, seconds)
    report(f"{name}: one active, p50", one["p50"], "us")
    report(f"{name}: one active, p99", one["p99"], "us", "its p50", one["p50"])
    rate = load.run("rate", count, seconds, CALLS_PER_SECOND)
    report(f"{name}: {CALLS_PER_SECOND}/s over all, p50", rate["p50"], "us")
    report(f"{name}: {CALLS_PER_SECOND}/s over all, p99", rate["p99"], "us", "its p50", rate["p50"])
    before = work([supervisor])
    every = load.run("hot", count, seconds)
    report(f"{name}: all hot, calls", every["calls_per_second"], "1/s")
    report(f"{name}: all hot, p99", every["p99"], "us", "its p50", every["p50"])
    report(f"{name}: all hot, fairness (Jain)", every["fairness"], "1")
    report(f"{name}: CPU time of the supervisor meanwhile", (work([supervisor])[1] - before[1]) * 1e3, "ms")
    load.finish()


# ---- Brokers ----


def under_broker(arguments, sockets, flags, inner):
    """Runs `inner`, of which FOLDER is replaced, as a guest of a broker with named sockets FOLDER/0 and so on."""
    with tempfile.TemporaryDirectory(prefix="nvshim-bench-", dir="/tmp") as folder:
        named = [f"--broker-flag=--guest-socket=g{i}={folder}/{i}" for i in range(sockets)]
        inner = [folder if argument == "FOLDER" else argument for argument in inner]
        status = subprocess.run([*(["taskset", "-c", "1"] if len(os.sched_getaffinity(0)) > 1 else []),
                                 os.path.join(HERE, "..", "with-broker"), "--gpu", arguments.gpu, "--no-clients", *named,
                                 *(f"--broker-flag={flag}" for flag in flags), "--", *inner], check=False).returncode
    if status != 0:
        sys.exit(f"guests.py: '{' '.join(inner)}' ends with status {status}")


def possible_guests(count, workers):
    """As many guests as this machine has room for, and what stands in the way of more."""
    available_kib = int(processes.fields("/proc/meminfo")["MemAvailable"])
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    limits = [(files // FILES_PER_GUEST, "RLIMIT_NOFILE")]
    if workers == "own":
        limits.append((available_kib // 2 // MEMORY_PER_WORKER_KIB, "memory"))
    most, what = min(limits)
    if most < count:
        print(f"guests.py: {what} allows {most} guests, not {count}", file=sys.stderr)
    return min(most, count)


def measure(arguments):
    at_once = 20 if arguments.quick else 100
    under_broker(arguments, 2 * at_once, [], [arguments.program, "attach", "FOLDER", str(at_once)])
    under_broker(arguments, 1, [], [arguments.program, "teardown", "FOLDER"])
    for wanted in (1, 10, 100) if arguments.quick else (1, 10, 100, 1000):
        for workers in ("own", "shared"):
            count = possible_guests(wanted, workers)
            seconds, idle = (0.5, 1.0) if arguments.quick else (3.0, 60.0 if wanted == 100 and workers == "own" else 3.0)
            inner = [os.path.realpath(__file__), arguments.program, "--folder", "FOLDER", "--count", str(count),
                     "--workers", workers, "--seconds", str(seconds), "--idle", str(idle)]
            flags = [f"--guests-per-worker={1 if workers == 'own' else 4096}"]
            under_broker(arguments, count, flags, inner)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program", help="the path of guest_bench")
    parser.add_argument("--gpu", default="h100")
    parser.add_argument("--quick", action="store_true", help="fewer rounds and guests")
    inner = parser.add_argument_group("under a broker, by this script itself")
    inner.add_argument("--folder", help="of the named sockets")
    inner.add_argument("--count", type=int)
    inner.add_argument("--workers", choices=["own", "shared"])
    inner.add_argument("--seconds", type=float)
    inner.add_argument("--idle", type=float)
    arguments = parser.parse_args()
    if arguments.folder:
        os.environ.pop("LD_PRELOAD", None)  # raw guests, and tools that are none
        measure_load(arguments)
    else:
        measure(arguments)


if __name__ == "__main__":
    main()
