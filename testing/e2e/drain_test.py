#!/usr/bin/python3
"""Law: after SIGTERM a supervisor takes no new guests, serves new processes of those it has, and ends, with all workers, when
they have left. With guests that stay it ends when their time is up, and at once on a second SIGTERM. Runs under
testing/with-broker for the places of things; the supervisors are its own."""

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

LONG_MS, SHORT_MS = 3_600_000, 200
CALLER = os.path.abspath("testing/e2e/victims/caller")


def expect_no_gpu(supervisor, name):
    result = subprocess.run(supervisor.command(name, CALLER), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.DEVNULL, check=False, timeout=guests.PATIENCE_S)
    if result.returncode == 0 or b"calling" in result.stdout:
        guests.fail("a supervisor that is to stop takes a new guest")


def expect_ended(supervisor, workers):
    if supervisor.process.wait(guests.PATIENCE_S) != 0:
        guests.fail(f"a supervisor ends with status {supervisor.process.returncode}")
    supervisors.await_gone(workers, "workers stay when their supervisor was told to end")
    if os.listdir(supervisor.folder):
        guests.fail(f"a supervisor that has ended leaves {os.listdir(supervisor.folder)}")


def expect_lost(guest):
    guest.expect("EIO")
    guest.process.wait(guests.PATIENCE_S)


def guests_leave(folder):
    supervisor = supervisors.Supervisor(folder, ["a", "b"], f"--drain-ms={LONG_MS}")
    first = supervisor.guest("a", CALLER, "calling")
    workers = supervisors.workers()
    supervisor.process.send_signal(signal.SIGTERM)
    supervisor.await_log("no new guests")
    second = supervisor.guest("a", CALLER, "calling")
    expect_no_gpu(supervisor, "b")
    first.finish()
    second.finish()
    expect_ended(supervisor, workers)


def guests_stay(folder, drain_ms, signals):
    supervisor = supervisors.Supervisor(folder, ["a"], f"--drain-ms={drain_ms}")
    guest = supervisor.guest("a", CALLER, "calling")
    workers = supervisors.workers()
    for number in signals:
        supervisor.process.send_signal(number)
        supervisor.await_log("no new guests")
    expect_lost(guest)
    expect_ended(supervisor, workers)


def main():
    folder = tempfile.mkdtemp(prefix="nvshim-drain-", dir="/tmp")  # the path of a Unix socket has 107 bytes
    try:
        guests_leave(folder)
        guests_stay(folder, SHORT_MS, [signal.SIGTERM])
        guests_stay(folder, LONG_MS, [signal.SIGTERM, signal.SIGTERM])
        print("guests that leave are waited for, guests that stay are not")
    finally:
        supervisors.clean_up()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
