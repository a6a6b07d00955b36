#!/usr/bin/python3
"""Laws of gpu-brokerctl top. Runs under testing/with-broker.

1. On a terminal it takes the screen and shows guests, also when the broker goes and comes; q, SIGTERM and a closed terminal end
   it, and the terminal is then as it was.
2. Without a terminal, and with --once, it prints lines without a control character, and ends."""

import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import termios
import time

sys.dont_write_bytecode = True  # the checkout is looked at, not written to
sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))
import guests  # noqa: E402
import supervisors  # noqa: E402

ENTER, LEAVE = b"\x1b[?1049h", b"\x1b[?1049l"


class Top:
    """gpu-brokerctl top on a terminal of its own."""

    def __init__(self):
        self.terminal, self.inside = pty.openpty()
        self.modes = termios.tcgetattr(self.inside)
        self.process = subprocess.Popen([guests.BROKERCTL, "top", "--socket", guests.SOCKET], stdin=self.inside,
                                        stdout=self.inside, stderr=self.inside, start_new_session=True)
        self.said = b""

    def await_text(self, *wanted):
        """Waits for all of it, behind what was waited for last."""
        deadline = time.monotonic() + guests.PATIENCE_S
        said = b""
        while not all(text in said for text in wanted):
            readable, _, _ = select.select([self.terminal], [], [], max(0.0, deadline - time.monotonic()))
            if not readable:
                guests.fail(f"top does not show {wanted}, but {said}")
            said += os.read(self.terminal, 4096)
        self.said = said

    def expect_end(self, how):
        self.await_text(LEAVE)
        status = self.process.wait(guests.PATIENCE_S)
        if status != 0:
            guests.fail(f"{how}: top ends with {status}")
        if not self.said.endswith(LEAVE) or termios.tcgetattr(self.inside) != self.modes:
            guests.fail(f"{how}: the terminal is not as it was: {self.said}")


def on_a_terminal(supervisor):
    caller = supervisor.guest("a", os.path.abspath("testing/e2e/victims/caller"), "calling")
    top = Top()
    top.await_text(ENTER, b"H100", b"\n| a ")
    supervisor.end(signal.SIGKILL)
    top.await_text(b"no gpu-broker answers")
    supervisor.start()
    top.await_text(b"\n| a ")
    os.kill(top.process.pid, signal.SIGTSTP)  # without it the terminal would be left as it is
    top.await_text(b"\n| a ")
    os.write(top.terminal, b"q")
    top.expect_end("q")
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        top = Top()
        top.await_text(b"\n| a ")
        top.process.send_signal(number)
        top.expect_end(number.name)
    top = Top()
    top.await_text(b"\n| a ")
    os.close(top.inside)
    os.close(top.terminal)
    top.process.wait(guests.PATIENCE_S)
    return caller


def printed(*arguments):
    said = guests.ctl("top", *arguments).stdout
    if "\x1b" in said or "\n| a " not in said:
        guests.fail(f"top {arguments} prints {said}")


def main():
    folder = tempfile.mkdtemp(prefix="nvshim-top-", dir="/tmp")
    try:
        supervisor = supervisors.Supervisor(folder, ["a"])
        caller = on_a_terminal(supervisor)
        printed()
        printed("--once")
        caller.finish()
        supervisor.end(signal.SIGINT)
        refused = guests.ctl("top", "--once", check=False)
        if refused.returncode != 1 or "no gpu-broker answers" not in refused.stderr:
            guests.fail(f"without a broker top ends with {refused.returncode}: {refused.stderr}")
    finally:
        supervisors.clean_up()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
