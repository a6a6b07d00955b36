#!/usr/bin/python3
"""Law: nvidia-smi and libcuda see a GPU as large as the guest's quota. What a process of the guest takes is shown as
used and beside its pid, to its own guest and to no other; once the quota is taken no process of the guest gets more, while
others do; and what is given back can be had again.

usage: quota.py MIB OTHER_SOCKET OTHER_MIB: the quota of this guest, and the socket and the quota of another one. Runs
under testing/with-broker."""

import os
import re
import subprocess
import sys

sys.dont_write_bytecode = True  # the checkout is looked at, not written to
sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))
import guests  # noqa: E402

PROGRAM = os.path.abspath("testing/clients/memory_quota")
TIMEOUT_S = 120  # a hang ends; nothing is measured


class Tenant:
    """One guest: a socket and the quota of whoever connects there."""

    def __init__(self, name, socket, quota_mib):
        self.name, self.socket, self.quota_mib = name, socket, int(quota_mib)

    def start(self, *command, **arguments):
        # env itself is started without the shim, which comes in with the exec.
        return subprocess.Popen(["env", f"LD_PRELOAD={guests.PRELOAD}", f"NVSHIM_SOCKET={self.socket}", *command],
                                text=True, errors="replace", **arguments)

    def ask(self, *command):
        process = self.start(*command, stdout=subprocess.PIPE)
        output, _ = process.communicate(timeout=TIMEOUT_S)
        if process.returncode != 0:
            guests.fail(f"{' '.join(command)} in guest {self.name} ends with status {process.returncode}")
        return output

    def hold(self):
        """Starts a process that has taken all that can be had, and says so."""
        process = self.start(PROGRAM, str(self.quota_mib), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for line in process.stdout:
            said = re.match(r"holding (\d+) (\d+)$", line)
            if said:
                if int(said[1]) != process.pid:
                    guests.fail(f"process {process.pid} calls itself {said[1]}")
                return process, int(said[2])
        return guests.fail(f"memory_quota in guest {self.name} ends with status {process.wait()}")

    def expect(self, holders):
        """What nvidia-smi shows in this guest is that `holders`, pid -> MiB, have memory and nobody else has."""
        self.expect_line("--query-gpu=memory.total,memory.used", "--format=csv,noheader,nounits",
                         lines=[f"{self.quota_mib}, {sum(holders.values())}"])
        self.expect_line("--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits",
                         lines=[f"{pid}, {mib}" for pid, mib in sorted(holders.items())])
        details = self.ask("nvidia-smi", "-q", "-d", "PIDS")
        shown = dict(zip(re.findall(r"Process ID +: (\d+)", details), re.findall(r"Used GPU Memory +: (\d+) MiB", details)))
        if shown != {str(pid): str(mib) for pid, mib in holders.items()}:
            guests.fail(f"guest {self.name}, {holders} is right, nvidia-smi -q says:\n{details}")
        table = self.ask("nvidia-smi")
        rows = re.findall(r"^\| +0 +N/A +N/A +(\d+) +C +\S*memory_quota +(\d+)MiB \|$", table, re.MULTILINE)
        if rows != [(str(pid), str(mib)) for pid, mib in sorted(holders.items())] or \
                ("No running processes found" in table) == bool(holders):
            guests.fail(f"guest {self.name}, {holders} is right, nvidia-smi says:\n{table}")

    def expect_line(self, *options, lines):
        output = self.ask("nvidia-smi", *options).splitlines()
        if output != lines:
            guests.fail(f"guest {self.name}: nvidia-smi {options[0]} says {output}, {lines} is right")


def finish(process):
    process.stdin.close()
    last = process.stdout.read().splitlines()[-1:]
    if process.wait(TIMEOUT_S) != 0 or last != ["the quota holds"]:
        guests.fail(f"memory_quota ends with status {process.returncode} and says {last}")


def main():
    own = Tenant("own", guests.SOCKET, sys.argv[1])
    other = Tenant("other", *sys.argv[2:])
    own.expect({})
    other.expect({})

    holder, mib = own.hold()
    own.expect({holder.pid: mib})
    other.expect({})

    # A second process of the same guest has nothing left even for a context.
    second = own.start(PROGRAM, str(own.quota_mib), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                       stderr=subprocess.PIPE)
    _, complaint = second.communicate(timeout=TIMEOUT_S)
    if second.returncode != 1 or "CUDA_ERROR_OUT_OF_MEMORY" not in complaint:
        guests.fail(f"beyond the quota memory_quota ends with status {second.returncode} and says '{complaint}'")
    own.expect({holder.pid: mib})

    foreign, foreign_mib = other.hold()
    other.expect({foreign.pid: foreign_mib})
    own.expect({holder.pid: mib})
    by_name = {guest["name"]: guest for worker in guests.stats()["workers"] for guest in worker["guests"]}
    for guest in by_name.values():
        tenant = other if guest["name"] == "other" else own
        held_mib = foreign_mib if tenant is other else mib
        if guest["memory_quota_bytes"] != tenant.quota_mib << 20 or guest["memory_bytes"] >> 20 != held_mib:
            guests.fail(f"guest {tenant.name} holds {held_mib} MiB of {tenant.quota_mib}, the statistics say {guest}")

    finish(holder)
    own.expect({})
    finish(foreign)
    other.expect({})
    guests.await_stats(guests.nothing_held, "all programs have ended and something is still held")


if __name__ == "__main__":
    main()
