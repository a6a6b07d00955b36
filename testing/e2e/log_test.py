#!/usr/bin/python3
"""Laws of the log. Runs under testing/with-broker for the places of things; the supervisor is its own.

1. With --log-format=json each line of each process of the broker is one object that says when, which process, how severe
   and what.
2. What a guest is refused over and over is a line at once and one when it has left, for each reason; together they tell
   the number of times."""

import collections
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

NAME = "a guest"  # a name that needs quotes
TIMES = 500

REFUSED = f"""
import fcntl, os, struct
ctl = os.open("/dev/nvidiactl", os.O_RDWR)
refused = 0
for number, status_at, fields in (
        (0x2b, 28, (0, 0, 0, 0xdead, 0, 0, 0)),           # NV_ESC_RM_ALLOC of a class of no GPU
        (0x2a, 28, (0x1234, 0x1234, 0x214, 0, 0, 0, 0)),  # NV_ESC_RM_CONTROL without its parameters
):
    for _ in range({TIMES}):
        params = bytearray(struct.pack("=IIIIQII", *fields))
        fcntl.ioctl(ctl, 3 << 30 | len(params) << 16 | ord("F") << 8 | number, params)
        refused += params[status_at] != 0
print(refused)
"""


def main():
    folder = tempfile.mkdtemp(prefix="nvshim-log-", dir="/tmp")
    try:
        supervisor = supervisors.Supervisor(folder, [NAME], "--log-format=json")
        guest = subprocess.run([*supervisor.command(NAME, sys.executable), "-c", REFUSED], stdout=subprocess.PIPE, check=True,
                               timeout=guests.PATIENCE_S)
        if int(guest.stdout) != 2 * TIMES:
            guests.fail(f"{guest.stdout} calls were refused, not {2 * TIMES}")
        guests.await_stats(guests.nothing_held, "a guest has left and something is still held")
        supervisor.end(signal.SIGINT)
        lines = [json.loads(line) for line in supervisor.log().splitlines()]
    finally:
        supervisors.clean_up()
        shutil.rmtree(folder, ignore_errors=True)
    if any(not {"time", "severity", "process", "pid", "message"} <= line.keys() for line in lines):
        guests.fail("a line does not say when, who, how severe and what")
    told = collections.defaultdict(list)
    for line in lines:
        if line["message"] == "audit: refused":
            told[line["reason"], line["name"]].append(line["times"])
    wanted = {(reason, NAME): [1, TIMES - 1] for reason in ("unknown_class", "bad_size")}
    if told != wanted:
        guests.fail(f"the log tells {dict(told)}, right is {wanted}")


if __name__ == "__main__":
    main()
