#!/usr/bin/python3
"""Law: when the worker of a guest is killed, that guest's calls fail with EIO, promptly; a guest of another uid does
not notice; the next process of the first guest is served again. Runs under testing/with-broker, as root, because
only root can be two uids."""

import os
import signal
import sys

sys.dont_write_bytecode = True  # the checkout is looked at, not written to
sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))
import guests  # noqa: E402

OTHER_UID = 65534  # nobody


def workers():
    return {worker["pid"] for worker in guests.stats()["workers"]}


def main():
    if os.geteuid() != 0:
        print("SKIPPED: two guests need two uids, and only root can be both")
        return
    before = workers()
    victim = guests.caller()
    workers_of_victim = workers() - before
    if len(workers_of_victim) != 1:
        guests.fail(f"the first guest of a uid has {len(workers_of_victim)} new workers, one is right")
    bystander = guests.caller(uid=OTHER_UID)

    os.kill(workers_of_victim.pop(), signal.SIGKILL)
    victim.expect("EIO")
    if victim.process.wait(guests.PATIENCE_S) != 3:
        guests.fail("the victim's calls fail in some other way")

    successor = guests.caller()
    successor.finish()
    bystander.finish()
    guests.await_stats(guests.nothing_held, "all guests are gone and something is still held")
    print("one worker killed, one guest harmed")


if __name__ == "__main__":
    main()
