#!/usr/bin/python3
"""Law: a process that is killed at any ioctl of creating a context and copying leaves nothing behind in its worker, and
other processes, of the same guest and of another one, go on and get their copies back equal. Runs under
testing/with-broker, which listens on a second socket, named by NVSHIM_OTHER_SOCKET, for the other guest. NVSHIM_KILLS
says how many processes die; 40 unless set."""

import itertools
import os
import signal
import subprocess
import sys
import time

sys.dont_write_bytecode = True  # the checkout is looked at, not written to
HERE = os.path.dirname(os.path.realpath(__file__))
sys.path += [HERE, os.path.dirname(HERE)]
import guests  # noqa: E402
import processes  # noqa: E402

KILLS = int(os.environ.get("NVSHIM_KILLS", "40"))
OTHER_SOCKET = os.environ["NVSHIM_OTHER_SOCKET"]

SIZE_MAX = str(1 << 20)  # of the copies of a victim, which makes most of its ioctls before them
VICTIM_PATIENCE_S = 120.0  # a victim runs for a second; on a machine with far more to do than CPUs for half a minute
AT_A_TIME = 2       # victims that run side by side
STEP = 50           # from one victim's last ioctl to the next one's
NEXT_PASS = 7       # no divisor of the step: each pass dies at other ioctls
MOMENTS = itertools.cycle(["before", "during", "after"])

# What glibc keeps at the top of an arena before it gives it back (M_TRIM_THRESHOLD), for the worker's two threads.
MALLOC_SLACK_KIB = 2 * 128


def start_bystanders():
    """A process of the victims' guest and one of the other guest, which copy and compare without pause."""
    program = os.path.abspath("testing/clients/copy_until_told")
    bystanders = [guests.Guest("env", f"LD_PRELOAD={guests.PRELOAD}", f"NVSHIM_SOCKET={socket}", program)
                  for socket in (guests.SOCKET, OTHER_SOCKET)]
    for guest in bystanders:
        guest.expect("copying")
    return bystanders


def finish(bystanders):
    for guest in bystanders:
        guest.finish()
    guests.await_stats(guests.nothing_held, "all guests are gone and something is still held")


def start_victim(at, when):
    libraries = f"{os.path.abspath('testing/e2e/die_at_ioctl.so')}:{guests.PRELOAD}"
    return subprocess.Popen(
        ["env", f"LD_PRELOAD={libraries}", f"NVSHIM_TEST_DIE_AT={at}", f"NVSHIM_TEST_DIE_WHEN={when}",
         os.path.abspath("testing/clients/copy_memory"), SIZE_MAX], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def await_victims(victims):
    """The statuses of all, in order. Whoever hangs is ended, so that no failure leaves a spinning process behind."""
    try:
        return [victim.wait(VICTIM_PATIENCE_S) for victim in victims]
    except subprocess.TimeoutExpired:
        guests.fail(f"a victim neither dies nor ends within {VICTIM_PATIENCE_S:.0f} s")
    finally:
        for victim in victims:
            victim.kill()


def kill_some(first):
    """Lets victims die at ioctl `first` and at later ones. Returns how many did, and whether all lived long enough."""
    chosen = [(first + index * STEP, next(MOMENTS)) for index in range(AT_A_TIME)]
    statuses = await_victims([start_victim(at, when) for at, when in chosen])
    for (at, when), status in zip(chosen, statuses):
        if status not in (0, -signal.SIGKILL):
            guests.fail(f"a process that is to die {when} its ioctl {at} ends with status {status} instead")
    return statuses.count(-signal.SIGKILL), 0 not in statuses


def kill_all(after_each):
    killed = 0
    for one_pass in itertools.count():
        before = killed
        first = STEP + one_pass * NEXT_PASS
        more = True
        while more and killed < KILLS:
            count, more = kill_some(first)
            killed += count
            first += AT_A_TIME * STEP
            after_each()
        if killed >= KILLS:
            return killed
        if killed == before:
            guests.fail("nobody died: the programs make fewer ioctls than the first victim should")


def await_held(pid, wanted):
    """Waits until the process holds what it held before; memory may differ by what malloc keeps."""
    deadline = time.monotonic() + guests.PATIENCE_S
    while True:
        now = processes.held_by(pid)
        exact = all(now[name] == wanted[name] for name in ("fds", "maps", "threads", "shmem_kib"))
        if exact and now["anonymous_kib"] <= wanted["anonymous_kib"] + MALLOC_SLACK_KIB:
            return now
        if time.monotonic() > deadline:
            guests.fail(f"worker {pid} held {wanted} before, and {now} after all guests were gone")
        time.sleep(0.01)


def run_undisturbed():
    """Everything once, side by side and to its end: what a worker starts and keeps for good is there afterwards."""
    bystanders = start_bystanders()
    if any(await_victims([start_victim(0, "never") for _ in range(AT_A_TIME)])):
        guests.fail("copy_memory fails when nobody is killed")
    finish(bystanders)


def main():
    run_undisturbed()
    workers = [worker["pid"] for worker in guests.stats()["workers"]]
    if len(workers) != 2:
        guests.fail(f"two guests have {len(workers)} workers")
    before = {pid: processes.held_by(pid) for pid in workers}

    bystanders = start_bystanders()
    held = {name: guests.stats()[name] for name in guests.HELD}
    killed = kill_all(lambda: guests.await_stats(
        lambda now: all(now[name] == held[name] for name in guests.HELD),
        f"killed processes leave something behind; without them: {held}; now"))
    finish(bystanders)

    for pid in workers:
        print(f"worker {pid} before: {before[pid]}")
        print(f"worker {pid} after:  {await_held(pid, before[pid])}")
    print(f"{killed} processes killed around their ioctls, nothing left behind, all copies of the others equal")


if __name__ == "__main__":
    main()
