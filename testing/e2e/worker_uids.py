#!/usr/bin/python3
"""Law: with --worker-uid-range each worker is a user of its own out of the range, in the broker's groups, and without any
capability. A guest for which no user id is left sees no GPU; an id is free again when its worker has
ended, or was killed. Ranges that cannot be are refused.

usage: worker_uids.py FIRST LAST, two user ids that follow each other. Runs under testing/with-broker, as root, with
--worker-uid-range=FIRST-LAST and --guest-linger-ms=0."""

import os
import signal
import subprocess
import sys

sys.dont_write_bytecode = True  # the checkout is looked at, not written to
sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))
sys.path.insert(0, "testing")
import guests  # noqa: E402
import processes  # noqa: E402

OTHER_UID, THIRD_UID = 65534, 65533  # of guests, as is 0
SETS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")


def status_of(pid):
    """The lines of /proc/PID/status: name -> list of words."""
    lines = processes.read(f"/proc/{pid}/status").splitlines()
    return {name: value.split() for name, _, value in (line.partition(":") for line in lines)}


def workers():
    return {worker["pid"] for worker in guests.stats()["workers"]}


def check_worker(pid):
    """Returns the worker's user id."""
    status = status_of(pid)
    own = status_of(processes.parent_of(pid))
    for name in SETS:
        if int(status[name][0], 16) != 0:
            guests.fail(f"{name} of worker {pid} is {status[name][0]}")
    if status["NoNewPrivs"] != ["1"]:
        guests.fail(f"worker {pid} may gain privileges")
    if len(set(status["Uid"])) != 1:
        guests.fail(f"worker {pid} has user ids {status['Uid']}")
    for name in ("Gid", "Groups"):
        if status[name] != own[name]:
            guests.fail(f"{name} of worker {pid} is {status[name]}, the broker's are {own[name]}")
    return int(status["Uid"][0])


def expect_no_gpu(uid):
    program, preload = guests.guest_files(uid)
    command = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "env", f"LD_PRELOAD={preload}", program]
    result = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            text=True, check=False, timeout=guests.PATIENCE_S)
    if result.returncode == 0 or "calling" in result.stdout:
        guests.fail("a guest is served for whose worker there is no user id")


def await_reaped(pid):
    """A user id is in use for as long as its worker is, which may outlive its guests by the time a driver needs."""
    guests.await_stats(lambda _: not os.path.exists(f"/proc/{pid}"), f"worker {pid} is still there")


def expect_refused(complaint, flag, launcher=()):
    # A broker that is refused does not get as far as to make its socket.
    socket = os.path.join(os.path.dirname(guests.SOCKET), "unused.sock")
    result = subprocess.run([*launcher, guests.BROKER, f"--worker-uid-range={flag}", f"--socket={socket}"],
                            stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False,
                            timeout=guests.PATIENCE_S)
    if result.returncode != 1 or complaint not in result.stderr:
        guests.fail(f"range {flag}: status {result.returncode}, '{result.stderr}'; '{complaint}' is right")


def check_flag():
    expect_refused("FIRST-LAST is wanted", "20")
    expect_refused("greater", "30-20")
    expect_refused("uid 0", "0-20")
    # Root without it: another user could perhaps not read the binary.
    expect_refused("CAP_SETUID is missing", "20-30", ["setpriv", "--bounding-set=-setuid"])
    expect_refused("CAP_KILL is missing", "20-30", ["setpriv", "--bounding-set=-kill"])


def main():
    uids = {int(sys.argv[1]), int(sys.argv[2])}
    check_flag()
    first = guests.caller()
    first_worker = workers().pop()
    second = guests.caller(OTHER_UID)
    second_worker = (workers() - {first_worker}).pop()
    taken = {check_worker(pid) for pid in (first_worker, second_worker)}
    if taken != uids:
        guests.fail(f"two workers have the user ids {taken}, {uids} are right")

    expect_no_gpu(THIRD_UID)

    first.finish()
    await_reaped(first_worker)
    third = guests.caller(THIRD_UID)
    third_worker = (workers() - {second_worker}).pop()
    if {check_worker(third_worker), check_worker(second_worker)} != uids:
        guests.fail("the user id of a worker that ended is not used again")

    os.kill(third_worker, signal.SIGKILL)
    third.expect("EIO")
    third.process.wait(guests.PATIENCE_S)
    await_reaped(third_worker)
    fourth = guests.caller()
    fourth_worker = (workers() - {second_worker}).pop()
    if {check_worker(fourth_worker), check_worker(second_worker)} != uids:
        guests.fail("the user id of a worker that was killed is not used again")
    second.finish()
    fourth.finish()
    guests.await_stats(guests.nothing_held, "all guests are gone and something is still held")
    print(f"four workers, two user ids: {sorted(uids)}")


if __name__ == "__main__":
    main()
