#!/usr/bin/python3
"""Laws of the limits, one of the functions below for each kind of them: who has as much as its guest, or its user, may
have is told what the driver says in that place; others are not concerned; what is given back can be had again, and so
can what somebody held who was killed, guest or worker. In the end all sums are zero.

usage: limits.py LAW. Runs under testing/with-broker, with the flags that limits_test.sh has for the law."""

import os
import signal
import sys
import time

sys.dont_write_bytecode = True  # the checkout is looked at, not written to
sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))
import guests  # noqa: E402
from takers import INSUFFICIENT_RESOURCES, NO_MEMORY, Taker  # noqa: E402

MIB = 1 << 20
# Another guest of the same user, with a worker of its own.
OTHER_SOCKET = os.environ["OTHER_SOCKET"]


def guest_limits(now, kind):
    """What the statistics say of `kind`, for each guest by its name."""
    return {guest["name"]: guest["limits"][kind] for worker in now["workers"] for guest in worker["guests"]}


def uid_used(now, kind):
    return {uid["uid"]: uid["limits"][kind]["used"] for uid in now["uids"]}.get(os.getuid(), 0)


def expect_used(kind, used, limit, refused):
    [own] = guest_limits(guests.stats(), kind).values()
    if own != {"used": used, "limit": limit, "refused_total": refused}:
        guests.fail(f"{used} of {limit} {kind} are used and {refused} refused, the statistics say {own}")
    if uid_used(guests.stats(), kind) != used:
        guests.fail(f"the user's {kind} are {uid_used(guests.stats(), kind)}, {used} is right")


def all_zero(now):
    """Nobody holds anything, at neither level."""
    of_guests = [kind.get("used", 0) for worker in now["workers"] for guest in worker["guests"]
                 for kind in guest["limits"].values()]
    of_uids = [kind.get("used", 0) for uid in now["uids"] for kind in uid["limits"].values()]
    return guests.nothing_held(now) and not any(of_guests) and not any(of_uids)


# ---- One guest --------------------------------------------------------------------------------------------------

# Kind, what comes first, a command that takes all there is, one that would take more, what that is told, the limit.
KINDS = (
    ("files", "files 0", "files 4", "files 1", "EMFILE", 4),
    ("clients", "files 1", "clients 2", "clients 1", INSUFFICIENT_RESOURCES, 2),
    ("objects", "files 1", "objects 6", "objects 1", INSUFFICIENT_RESOURCES, 6),
    ("channels", "files 1", "channel", "channel", INSUFFICIENT_RESOURCES, 1),
    ("video_memory", "files 1", f"video {MIB}", "video 65536", NO_MEMORY, MIB),
    ("pinned_memory", "files 1", f"pinned {2 * MIB}", "pinned 4096", NO_MEMORY, 2 * MIB),
)


def guest():
    for kind, before, all_of_it, more, answer, limit in KINDS:
        holder, second = Taker(), Taker()
        already = sum(one["refused_total"] for one in guest_limits(guests.stats(), kind).values())
        for taker in (holder, second):
            taker.take(before)
        holder.take(all_of_it)
        holder.take(more, answer)
        second.take(more, answer)  # another process of the guest gets no more than this one
        expect_used(kind, limit, limit, already + 2)
        holder.take("free")
        holder.take(all_of_it if kind != "files" else "files 3")  # it keeps one
        expect_used(kind, limit, limit, already + 2)
        holder.kill()
        guests.await_stats(lambda now: uid_used(now, kind) == 0, f"a killed process has {kind}")
        second.take("free")
        second.take(all_of_it)
        second.finish()
        guests.await_stats(all_zero, f"all processes have ended and {kind} are held")


def processes():
    first = Taker()
    first.take("files 1")
    second = Taker()
    second.take("files 1", "ENODEV")
    expect_used("processes", 1, 1, 1)
    first.kill()
    guests.await_stats(all_zero, "a killed process is still there")
    third = Taker()
    third.take("files 1")
    third.finish()
    second.finish()


def lanes():
    first, second = Taker(), Taker()
    first.take("files 1")
    second.take("files 1", "ENOMEM")
    expect_used("lanes", 1, 1, 1)
    first.kill()
    guests.await_stats(lambda now: not uid_used(now, "lanes"), "a killed process has a lane")
    second.take("files 1")
    second.finish()


def call_bytes():
    taker = Taker()
    taker.take("files 1")
    taker.take("clients 1", "ENOMEM")
    expect_used("call_bytes", 0, 16, 1)
    taker.finish()


def rate():
    """No faster than it may be; and no call fails for it. That it is not slower than that is for no test to measure."""
    takers = [Taker(), Taker(OTHER_SOCKET)] if "--both" in sys.argv else [Taker()]
    start = time.monotonic()
    for taker in takers:
        taker.take("files 1")
    for taker in takers:
        taker.process.stdin.write(f"calls {300 // len(takers)}\n".encode())
        taker.process.stdin.flush()
    for taker in takers:
        int(taker.read_line())
    took_s = time.monotonic() - start
    if took_s < 2:
        guests.fail(f"300 calls take {took_s} s at 100 in a second, of which those of one second may come at once")
    waited = sum(one["refused_total"] for one in guest_limits(guests.stats(), "frames_per_second").values())
    if waited == 0:
        guests.fail("none of 300 calls had to wait")
    for taker in takers:
        taker.finish()


# ---- Two guests of one user -------------------------------------------------------------------------------------


def uid():
    first, second = Taker(), Taker(OTHER_SOCKET)
    for taker in (first, second):
        taker.take("files 1")
    first.take("clients 2")
    second.take("clients 1")
    for taker in (first, second):
        taker.take("clients 1", INSUFFICIENT_RESOURCES)
    if [one["used"] for _, one in sorted(guest_limits(guests.stats(), "clients").items())] != [1, 2]:
        guests.fail(f"one guest has two clients and the other one: {guests.stats()}")
    first.take("free")
    second.take("clients 2")
    second.take("clients 1", INSUFFICIENT_RESOURCES)

    # A worker that is killed had all of it. Until it is reaped its guests' clients may still be the driver's.
    [victim] = [worker["pid"] for worker in guests.stats()["workers"]
                if worker["guests"][0]["name"] == "other"]
    os.kill(victim, signal.SIGKILL)
    guests.await_stats(lambda now: uid_used(now, "clients") == 0, "a killed worker's clients are the user's")
    first.take("clients 3")
    first.take("clients 1", INSUFFICIENT_RESOURCES)
    second.kill()

    # And so for a guest.
    first.kill()
    guests.await_stats(lambda now: uid_used(now, "clients") == 0, "a killed process' clients are the user's")
    third = Taker(OTHER_SOCKET)
    third.take("files 1")
    third.take("clients 3")
    third.take("clients 1", INSUFFICIENT_RESOURCES)
    third.finish()


def main():
    {"guest": guest, "processes": processes, "lanes": lanes, "call_bytes": call_bytes, "rate": rate,
     "uid": uid}[sys.argv[1]]()
    guests.await_stats(all_zero, "all guests are gone and something is still held")


if __name__ == "__main__":
    main()
