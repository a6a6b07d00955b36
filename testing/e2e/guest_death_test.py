#!/usr/bin/python3
"""Law: when a guest process is killed in the middle of a call, everything it held is released, and other processes of
the same guest go on. Runs under testing/with-broker."""

import os
import sys
import time

sys.dont_write_bytecode = True  # the checkout is looked at, not written to
sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))
import guests  # noqa: E402

ROUNDS = 20  # each kills at another moment of the loop of calls


def spin(duration_s):
    """Lets the guest get a little further; busy, so that the moment differs by less than a call takes."""
    end = time.monotonic() + duration_s
    while time.monotonic() < end:
        pass


def main():
    bystander = guests.caller()
    held = guests.stats()
    for index in range(ROUNDS):
        victim = guests.caller()
        if guests.stats()["processes"] != held["processes"] + 1:
            guests.fail("a calling guest process is not counted")
        spin(index * 37e-6)
        victim.kill()
        guests.await_stats(
            lambda now: all(now[name] == held[name] for name in guests.HELD),
            f"a killed process leaves something behind; before it came: {held}; now")
    bystander.finish()
    guests.await_stats(guests.nothing_held, "all guests are gone and something is still held")
    print(f"{ROUNDS} guest processes killed, nothing left behind")


if __name__ == "__main__":
    main()
