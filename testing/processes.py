"""What the kernel says about a process: descriptors, mappings, memory, threads, and what it did with the CPU."""

import os


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def fields(path):
    """The `Name: value` lines of a file; of a value like `12 kB` the number."""
    pairs = (line.split(":", 1) for line in read(path).splitlines() if ":" in line)
    return {name: value.split()[0] if value.split() else "" for name, value in pairs}


def held_by(pid):
    """What the process holds at this moment. Memory is in KiB: `rss_kib` is all that is mapped and present, of which
    `anonymous_kib` is its own and `shmem_kib` its share of shared memory, memfds among it."""
    memory = fields(f"/proc/{pid}/smaps_rollup")
    return {
        "fds": len(os.listdir(f"/proc/{pid}/fd")),
        "maps": len(read(f"/proc/{pid}/maps").splitlines()),
        "threads": len(os.listdir(f"/proc/{pid}/task")),
        "rss_kib": int(memory["Rss"]),
        "anonymous_kib": int(memory["Anonymous"]),
        "shmem_kib": int(memory["Pss_Shmem"]),
    }


def work_of(pid):
    """How often the threads of the process have given up a CPU and how much time of one they have used, by thread."""
    work = {}
    for thread in os.listdir(f"/proc/{pid}/task"):
        status = fields(f"/proc/{pid}/task/{thread}/status")
        work[int(thread)] = {
            "name": status["Name"],
            "switches": int(status["voluntary_ctxt_switches"]) + int(status["nonvoluntary_ctxt_switches"]),
            "cpu_s": int(read(f"/proc/{pid}/task/{thread}/schedstat").split()[0]) / 1e9,
        }
    return work


def parent_of(pid):
    return int(fields(f"/proc/{pid}/status")["PPid"])
