"""Laws: of two guests at once, neither can name what the other has, in any field; each sees its own processes and its own
memory only, in nvidia-smi and in CUDA. Means nothing without a broker. Its guests have a quota of QUOTA_MIB each.

usage: two_guests.py QUOTA_MIB"""

import re
import sys

import others

# Real client handles, and the numbers that guests see, begin here.
CLIENT_BASE, GUESSES = "0xc1d00000", "512"


def used_mib(guest):
    total, used = others.run(guest, "nvidia-smi", "--query-gpu=memory.total,memory.used",
                             "--format=csv,noheader,nounits").splitlines()[0].split(",")
    return int(total), int(used)


def processes(guest):
    """{pid: MiB} that nvidia-smi lists in `guest`."""
    lines = others.run(guest, "nvidia-smi", "--query-compute-apps=pid,used_memory",
                       "--format=csv,noheader,nounits").splitlines()
    return {int(pid): int(mib) for pid, mib in (line.split(",") for line in lines)}


def expect(guest, quota_mib, holders):
    total, used = used_mib(guest)
    listed = processes(guest)
    if total != quota_mib:
        others.fail(f"guest {guest} sees {total} MiB, its quota is {quota_mib}")
    if listed != holders:
        others.fail(f"guest {guest} sees the processes {listed}, {holders} is right")
    if used != sum(holders.values()):
        others.fail(f"guest {guest} sees {used} MiB in use, {sum(holders.values())} is right")


def hold(guest, quota_mib):
    """A process that has taken all memory of its guest: {pid: MiB}."""
    process = others.start(guest, "clients/memory_quota", str(quota_mib))
    pid, mib = others.read_line(process, "holding ", "memory_quota")
    return process, {int(pid): int(mib)}


def main():
    quota_mib = int(sys.argv[1])
    victim = others.start(0, "programs/foreign_client", "victim")
    handles = others.read_line(victim, "client ", "the victim")
    print(others.run(1, "programs/foreign_client", "intruder", *handles, CLIENT_BASE, GUESSES), end="")
    lines = others.finish(victim, "the victim")
    if not re.search(r"^unharmed$", lines, re.MULTILINE):
        others.fail("the victim does not say that it is unharmed")
    print("the victim is unharmed")

    expect(0, quota_mib, {})
    first, of_first = hold(0, quota_mib)
    expect(0, quota_mib, of_first)
    expect(1, quota_mib, {})
    second, of_second = hold(1, quota_mib)
    expect(0, quota_mib, of_first)
    expect(1, quota_mib, of_second)
    others.finish(first, "the first holder")
    expect(0, quota_mib, {})
    expect(1, quota_mib, of_second)
    others.finish(second, "the second holder")
    print("each guest sees its own")


if __name__ == "__main__":
    main()
