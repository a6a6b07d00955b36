"""What the tests of sudden death share: guest processes that can be told what to do, and the broker's statistics.

The tests run under testing/with-broker, which says in the environment where the broker and the shim are. Their own
process is no guest; the programs they start are.
"""

import json
import os
import select
import shutil
import subprocess
import sys
import time

# What the broker's statistics count of things that guests hold.
HELD = ("processes", "files", "clients", "objects", "memory_bytes")

PATIENCE_S = 20.0  # the most anything here may take; all of it takes milliseconds on an idle machine

# Taken out of the environment: tools that a test runs are no guests.
PRELOAD = os.environ.pop("LD_PRELOAD", None)
SOCKET = os.environ["NVSHIM_SOCKET"]
BROKER = os.environ["NVSHIM_BROKER"]
BROKERCTL = os.environ["NVSHIM_BROKERCTL"]


def fail(message):
    sys.exit(f"FAILED: {message}")


def ctl(*arguments, check=True):
    """gpu-brokerctl of the broker at SOCKET; what it says is text."""
    return subprocess.run([BROKERCTL, "--socket", SOCKET, *arguments], stdout=subprocess.PIPE, stderr=None if check else
                          subprocess.PIPE, text=True, check=check, timeout=PATIENCE_S)


def stats():
    return json.loads(ctl("stats").stdout)


def await_stats(holds, what):
    """Waits until `holds(stats)`; what is still there is the failure."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        now = stats()
        if holds(now):
            return now
        if time.monotonic() > deadline:
            fail(f"{what}: {json.dumps(now)}")


def nothing_held(now):
    return not any(now[name] for name in HELD)


class Guest:
    """A guest process that says in lines what it does, and ends by itself when its standard input is closed."""

    def __init__(self, *command):
        """`command` sets LD_PRELOAD with env(1): what comes before that is no guest."""
        self.name = f"'{' '.join(command)}'"
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.text = b""

    def read_line(self):
        deadline = time.monotonic() + PATIENCE_S
        while b"\n" not in self.text:
            readable, _, _ = select.select([self.process.stdout], [], [], max(0.0, deadline - time.monotonic()))
            if not readable:
                fail(f"{self.name} is silent for {PATIENCE_S} s: its calls hang")
            chunk = os.read(self.process.stdout.fileno(), 4096)
            if not chunk:
                fail(f"{self.name} ends with status {self.process.wait(PATIENCE_S)}")
            self.text += chunk
        line, _, self.text = self.text.partition(b"\n")
        return line.decode()

    def expect(self, wanted):
        line = self.read_line()
        if line != wanted:
            fail(f"{self.name} says '{line}', '{wanted}' is right")

    def kill(self):
        self.process.kill()
        self.process.wait(PATIENCE_S)

    def finish(self):
        """Ends the guest by its own will: its last call must still work."""
        self.process.stdin.close()
        self.expect("done")
        status = self.process.wait(PATIENCE_S)
        if status != 0:
            fail(f"{self.name} ends with status {status}")


def caller(uid=None):
    """One process of testing/e2e/victims/caller: it calls without pause until its standard input is closed."""
    program, preload = guest_files(uid)
    launcher = [] if uid is None else ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"]
    guest = Guest(*launcher, "env", f"LD_PRELOAD={preload}", program)
    guest.expect("calling")
    return guest


def guest_files(uid):
    """The caller program and the shim; for another uid copies of both where that uid may read them."""
    program = os.path.abspath("testing/e2e/victims/caller")
    if uid is None:
        return program, PRELOAD
    folder = os.path.join(os.path.dirname(SOCKET), "for-all")
    copies = [os.path.join(folder, os.path.basename(path)) for path in (program, PRELOAD)]
    if not os.path.isdir(folder):
        os.mkdir(folder)
        os.chmod(folder, 0o755)
        for path, copy in zip((program, PRELOAD), copies):
            shutil.copy(path, copy)
            os.chmod(copy, 0o755)
    return copies
