#!/usr/bin/python3
"""Law: what gpu-brokerctl says of a broker is so, and what it tells a broker is done: guests that are added, limited, killed
and removed while others go on. What was said at run time outlives the supervisor and not the broker. Who may not ask is told
who may. Runs under testing/with-broker, for its private /dev and the places of things; the supervisors are its own."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True  # the checkout is looked at, not written to
HERE = os.path.dirname(os.path.realpath(__file__))
sys.path += [HERE, os.path.dirname(HERE)]
import guests  # noqa: E402
import supervisors  # noqa: E402
import takers  # noqa: E402

CALLER = os.path.abspath("testing/e2e/victims/caller")
COPIER = os.path.abspath("testing/clients/copy_until_told")
NOBODY = 65534


def listed():
    return {guest["name"]: guest for guest in json.loads(guests.ctl("guests", "list", "--json").stdout)}


def expect_refused(wanted, *arguments):
    result = guests.ctl(*arguments, check=False)
    if result.returncode != 1 or wanted not in result.stderr:
        guests.fail(f"{arguments} ends with {result.returncode} and says '{result.stderr}', '{wanted}' is right")


def at(socket, *command):
    return ["env", f"LD_PRELOAD={guests.PRELOAD}", f"NVSHIM_SOCKET={socket}", *command]


def list_and_info(supervisor):
    guest = supervisor.guest("a", CALLER, "calling")
    found = listed()
    if set(found) != {"a", "b"} or found["b"]["guest"] is not None or found["a"]["processes"] != 1:
        guests.fail(f"one process of guest a is there, listed are {found}")
    if found["a"]["socket"] != supervisor.socket_of("a") or found["a"]["added"]:
        guests.fail(f"the socket of guest a is {found['a']}")
    text = guests.ctl("guests", "list").stdout.splitlines()
    if len(text) != 3 or f"a at {supervisor.socket_of('a')}" not in text[1]:
        guests.fail(f"listed are, for people, {text}")
    info = json.loads(guests.ctl("info", "--json").stdout)
    if (info["pid"], info["socket"], info["driver"]) != (supervisor.process.pid, guests.SOCKET, "sim") or info["draining"]:
        guests.fail(f"the broker says of itself {info}")
    guest.finish()


def add_and_limit(supervisor):
    said = guests.ctl("guests", "add", "new", "--mem", "2GiB", "--limit", "clients=2").stdout
    socket = os.path.join(supervisor.folder, "guests", "new.sock")
    if socket not in said or os.stat(socket).st_mode != os.stat(guests.SOCKET).st_mode:
        guests.fail(f"a guest is added: '{said}', its socket is {os.stat(socket)}")
    shown = subprocess.run(at(socket, "nvidia-smi"), stdout=subprocess.PIPE, text=True, check=True).stdout
    if "2048MiB" not in shown:
        guests.fail(f"a guest with 2 GiB is shown {shown}")
    for wanted, arguments in (("has a socket already", ["add", "new"]), ("has a socket already", ["add", "a"]),
                              ("begins with a letter", ["add", "../x"]), ("there is no guest 'x'", ["limit", "x", "files=1"]),
                              ("that of a setting", ["remove", "a"]), ("nobody has added", ["remove", "x"]),
                              ("is not there", ["kill", "x"])):
        expect_refused(wanted, "guests", *arguments)
    for asked in ("asks=add answer=\"guest 'new'", "asks=limit answer=\"there is no guest 'x'"):
        supervisor.await_log(f"audit: an operator uid={os.geteuid()} {asked}")
    taker = takers.Taker(socket)
    taker.take("files 1")
    taker.take("clients 3", takers.INSUFFICIENT_RESOURCES)
    guests.ctl("guests", "limit", "new", "clients=4")
    taker.take("clients 2")
    taker.take("clients 1", takers.INSUFFICIENT_RESOURCES)
    guests.ctl("guests", "limit", str(listed()["new"]["guest"]), "clients=1")  # by its number
    taker.take("free")
    taker.take("clients 2", takers.INSUFFICIENT_RESOURCES)
    if listed()["new"]["own_limits"] != {"video_memory": 2 << 30, "clients": 1}:
        guests.fail(f"a guest with two limits of its own has {listed()['new']}")
    guests.ctl("guests", "limit", "new", "--forget", "objects=none")
    taker.take("clients 9")
    if listed()["new"]["own_limits"] != {"objects": None}:
        guests.fail(f"a guest whose limits were forgotten has {listed()['new']}")
    return socket, taker


def outlive_the_supervisor(supervisor, socket, taker):
    guests.ctl("guests", "limit", "new", "clients=9")
    guests.ctl("guests", "limit", "a", "files=1")
    before = listed()["new"]
    supervisor.end(signal.SIGKILL)
    supervisor.start()
    if listed()["new"] != before:
        guests.fail(f"after a restart a guest is {listed()['new']}, it was {before}")
    taker.take("clients 1", takers.INSUFFICIENT_RESOURCES)
    second = takers.Taker(socket)  # joins it
    second.take("files 1")
    second.take("clients 1", takers.INSUFFICIENT_RESOURCES)
    second.finish()
    other = takers.Taker(supervisor.socket_of("a"))
    other.take("files 2", "EMFILE")
    guests.ctl("guests", "limit", "a", "--forget")
    other.take("files 1")
    other.finish()


def remove(socket, taker):
    expect_refused("--force", "guests", "remove", "new")
    taker.take("free")
    guests.ctl("guests", "remove", "new", "--force")
    if "new" in listed() or os.path.exists(socket):
        guests.fail(f"a guest that was removed is there: {listed()}")
    lost = taker.ask("clients 1")
    if lost != "EIO":
        guests.fail(f"a guest that was removed is answered '{lost}'")
    taker.finish()


def kill_while_copying(supervisor):
    """It gets errors, others go on, and its next process finds the GPU."""
    staying, dying = (supervisor.guest(name, COPIER, "copying") for name in ("a", "b"))
    before = listed()
    guests.ctl("guests", "kill", "b")
    if dying.process.wait(guests.PATIENCE_S) == 0:
        guests.fail("copies of a guest that was killed succeed")
    guests.await_stats(lambda _: listed()["b"]["processes"] == 0 and
                       (listed()["b"]["limits"] or {"objects": {"used": 0}})["objects"]["used"] == 0,
                       "something is left of a guest that was killed")
    if listed()["a"]["worker_pid"] != before["a"]["worker_pid"]:
        guests.fail("another guest has changed its worker")
    supervisor.guest("b", CALLER, "calling").finish()
    staying.finish()


def drain(supervisor):
    guest = supervisor.guest("a", CALLER, "calling")
    guests.ctl("guests", "limit", "a", "clients=100")
    guests.ctl("guests", "add", "new")
    guests.ctl("drain", "--within-ms", "3600000")
    if not json.loads(guests.ctl("info", "--json").stdout)["draining"]:
        guests.fail("a broker that drains does not say so")
    expect_refused("is stopping", "guests", "add", "late")
    guest.finish()
    if supervisor.process.wait(guests.PATIENCE_S) != 0:
        guests.fail(f"a broker that was drained ends with {supervisor.process.returncode}")
    if [name for name in os.listdir(supervisor.folder) if name != "guests"]:
        guests.fail(f"a broker that was drained leaves {os.listdir(supervisor.folder)}")
    expect_refused("systemctl start gpu-broker", "guests", "list")
    supervisor.start()
    if set(listed()) != {"a", "b"} or listed()["a"]["own_limits"]:
        guests.fail(f"what was said to a broker that was stopped is known to the next: {listed()}")


def others_are_told_who_may(folder):
    """The message names them."""
    os.chmod(folder, 0o755)
    os.chmod(os.path.dirname(folder), 0o755)
    program = shutil.copy(guests.BROKERCTL, os.path.join(os.path.dirname(folder), "gpu-brokerctl"))
    os.chmod(program, 0o755)
    result = subprocess.run(["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", program,
                             f"--socket={guests.SOCKET}", "stats"], stderr=subprocess.PIPE, text=True, check=False)
    if result.returncode != 1 or "you may not ask" not in result.stderr or "These may: root" not in result.stderr:
        guests.fail(f"another user is told '{result.stderr}'")


def main():
    folder = tempfile.mkdtemp(prefix="nvshim-control-", dir="/tmp")  # the path of a Unix socket has 107 bytes
    try:
        for guests_per_worker in (1, 4):
            sockets = os.path.join(folder, str(guests_per_worker))
            os.mkdir(sockets)
            supervisor = supervisors.Supervisor(sockets, ["a", "b"], f"--guests-per-worker={guests_per_worker}",
                                                "--guest-linger-ms=200", "--drain-ms=0")
            list_and_info(supervisor)
            socket, taker = add_and_limit(supervisor)
            outlive_the_supervisor(supervisor, socket, taker)
            remove(socket, taker)
            kill_while_copying(supervisor)
            drain(supervisor)
            if os.geteuid() == 0:
                others_are_told_who_may(sockets)
            supervisor.end(signal.SIGTERM)
        print("what gpu-brokerctl tells a broker is done")
    finally:
        supervisors.clean_up()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
