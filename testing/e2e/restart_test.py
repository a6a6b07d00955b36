#!/usr/bin/python3
"""Law: a supervisor that is killed with SIGKILL, or ended with SIGUSR1, takes nobody along. The one that is started in its
place finds every worker with its guests and what they hold; new processes of a guest join its worker; copies that run
meanwhile come back equal; what a user's guests hold together still counts; and workers whose guests leave while nobody
supervises end by themselves. A folder of workers that is not the broker's alone is refused.

NVSHIM_KILLS says how often the supervisor is killed under four guests, 5 times unless set; NVSHIM_KILL_INTERVAL_S how long
each lives, not at all longer than it takes to look unless set. Runs under testing/with-broker, for its private /dev and the
places of things; the supervisors are its own."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True  # the checkout is looked at, not written to
HERE = os.path.dirname(os.path.realpath(__file__))
sys.path += [HERE, os.path.dirname(HERE)]
import guests  # noqa: E402
import supervisors  # noqa: E402
import takers  # noqa: E402

KILLS = int(os.environ.get("NVSHIM_KILLS", "5"))
INTERVAL_S = float(os.environ.get("NVSHIM_KILL_INTERVAL_S", "0"))
NAMES = ("a", "b", "c", "d")
LINGER_MS = 500  # of an empty guest's worker


def copier(supervisor, name):
    return supervisor.guest(name, os.path.abspath("testing/clients/copy_until_told"), "copying")


def caller(supervisor, name):
    return supervisor.guest(name, os.path.abspath("testing/e2e/victims/caller"), "calling")


def view(stats):
    """What a restart must not change: who is served by which worker and holds what."""
    return {guest["name"]: {key: guest[key] for key in ("guest", "worker_pid", *guests.HELD)}
            for worker in stats["workers"] for guest in worker["guests"]}


def check_newcomer(supervisor, name, wanted):
    """One more process of a guest is served by the guest's worker, beside what the guest holds already."""
    newcomer = caller(supervisor, name)
    now = view(guests.stats())
    if {key: now[key]["worker_pid"] for key in now} != {key: wanted[key]["worker_pid"] for key in wanted}:
        guests.fail(f"a process of guest '{name}' has changed the workers from {wanted} to {now}")
    if now[name]["processes"] != wanted[name]["processes"] + 1:
        guests.fail(f"guest '{name}' has {now[name]['processes']} processes, it had {wanted[name]['processes']}")
    newcomer.finish()
    guests.await_stats(lambda stats: view(stats) == wanted, f"something is left of a process; {wanted} before; now")


def kill_under_load(supervisor):
    copiers = {name: copier(supervisor, name) for name in NAMES}
    before = guests.stats()
    wanted = view(before)
    if len({guest["worker_pid"] for guest in wanted.values()}) != len(NAMES):
        guests.fail(f"{len(NAMES)} guests do not have as many workers: {wanted}")
    frames = before["frames"]
    for kill in range(KILLS):
        time.sleep(INTERVAL_S)
        supervisor.end(signal.SIGKILL)
        supervisor.start()
        now = guests.stats()
        if view(now) != wanted:
            guests.fail(f"restart {kill + 1} has changed what guests hold: {view(now)}, before: {wanted}")
        if now["frames"] < frames:
            guests.fail(f"the count of frames went from {frames} to {now['frames']}")
        frames = now["frames"]
        check_newcomer(supervisor, NAMES[kill % len(NAMES)], wanted)
    for guest in copiers.values():
        guest.finish()
    guests.await_stats(guests.nothing_held, "all guests are gone and something is still held")
    supervisors.await_gone([guest["worker_pid"] for guest in wanted.values()], "workers of guests that have left stay")


def leave_alone(supervisor):
    """Without a supervisor guests go on, and their workers end when they have left."""
    staying, leaving = caller(supervisor, "a"), caller(supervisor, "b")
    before = view(guests.stats())
    if supervisor.end(signal.SIGUSR1) != 0:
        guests.fail("a supervisor does not end well on SIGUSR1")
    leaving.finish()
    supervisors.await_gone([before["b"]["worker_pid"]], "a worker stays that has neither a supervisor nor a guest")
    supervisor.start()
    now = view(guests.stats())
    if now != {"a": before["a"]}:
        guests.fail(f"after one of two guests has left there are {now}, {before['a']} is right")
    return staying, before["a"]["worker_pid"]


def keep_sums_of_users(folder):
    """What a user's guests hold counts after a restart as before it."""
    os.mkdir(folder)
    supervisor = supervisors.Supervisor(folder, ("a", "b"), "--uid-limit=clients=3", "--drain-ms=0")
    first = takers.Taker(supervisor.socket_of("a"))
    first.take("files 1")
    first.take("clients 2")
    supervisor.end(signal.SIGKILL)
    supervisor.start()
    [user] = guests.stats()["uids"]
    if user["limits"]["clients"]["used"] != 2:
        guests.fail(f"a user with two clients has {user} after a restart")
    second = takers.Taker(supervisor.socket_of("b"))
    second.take("files 1")
    second.take("clients 1")
    second.take("clients 1", takers.INSUFFICIENT_RESOURCES)
    first.take("free")
    second.take("clients 2")
    for taker in (first, second):
        taker.finish()
    supervisor.end(signal.SIGTERM)


def refuse_folder_of_others(folder):
    """Workers are not looked for where somebody else could put a socket."""
    path = os.path.join(folder, "open")
    os.mkdir(path + ".workers", 0o755)
    result = subprocess.run([guests.BROKER, "--no-config", f"--socket={path}"], stdin=subprocess.DEVNULL,
                            stderr=subprocess.PIPE, text=True, check=False, timeout=guests.PATIENCE_S)
    if result.returncode != 1 or "mode 0700" not in result.stderr:
        guests.fail(f"with a folder that is open to all: status {result.returncode}, '{result.stderr}'")


def main():
    folder = tempfile.mkdtemp(prefix="nvshim-restart-", dir="/tmp")  # the path of a Unix socket has 107 bytes
    try:
        supervisor = supervisors.Supervisor(folder, NAMES, f"--guest-linger-ms={LINGER_MS}", "--drain-ms=0")
        kill_under_load(supervisor)
        staying, worker = leave_alone(supervisor)
        # A worker found again is ended like any other.
        if supervisor.end(signal.SIGTERM) != 0:
            guests.fail("a supervisor does not end well on SIGTERM")
        supervisors.await_gone([worker], "a worker outlives a supervisor that was told to end")
        staying.expect("EIO")
        staying.process.wait(guests.PATIENCE_S)
        if os.listdir(folder):
            guests.fail(f"a supervisor that has ended leaves {os.listdir(folder)}")
        keep_sums_of_users(os.path.join(folder, "users"))
        refuse_folder_of_others(folder)
        print(f"{KILLS} supervisors killed under {len(NAMES)} guests, all copies equal, nothing lost and nothing left")
    finally:
        supervisors.clean_up()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
