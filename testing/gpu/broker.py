"""The gpu-broker of a run of the kit: started as a user without privileges, with a guest of its own for each program.

The processes that this module starts are the broker's and those of its guests; it is no guest itself.
"""

import ctypes
import json
import os
import pwd
import select
import shutil
import signal
import stat
import subprocess
import time

READY_TIMEOUT_S = 120.0   # opening a GPU that nobody holds takes seconds, on large machines a minute
STOP_TIMEOUT_S = 30.0     # closing it as well; then SIGKILL
RELEASE_TIMEOUT_S = 20.0  # how long a guest's last objects may take to be gone
STATS_TIMEOUT_S = 20.0

PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS = 1, 38  # <sys/prctl.h>

# What the statistics count of things that a guest holds.
HELD = ("processes", "files", "clients", "objects", "memory_bytes")

libc = ctypes.CDLL(None, use_errno=True)


class Failure(Exception):
    pass


class User:
    """Whom the broker runs as: `name`, or, started as root, nobody, with the groups that the device nodes ask for."""

    def __init__(self, name, nodes):
        entry = pwd.getpwuid(os.geteuid()) if os.geteuid() != 0 else pwd.getpwnam(name or "nobody")
        if os.geteuid() != 0 and name not in (None, entry.pw_name):
            raise Failure("only root can run the broker as another user")
        self.name, self.uid, self.gid = entry.pw_name, entry.pw_uid, entry.pw_gid
        self.groups = set()
        for node in nodes:
            self.admit(node)

    def admit(self, node):
        """Makes sure that this user may read and write `node`."""
        if os.geteuid() != 0:
            if not os.access(node, os.R_OK | os.W_OK):
                raise Failure(f"{self.name} may not read and write {node}")
            return
        found = os.stat(node)
        others, group, owner = (found.st_mode & bits == bits for bits in (0o006, 0o060, 0o600))
        if others or (owner and found.st_uid == self.uid) or (group and found.st_gid == self.gid):
            return
        if not group or found.st_gid == 0:
            raise Failure(f"{self.name} may not read and write {node} ({stat.filemode(found.st_mode)}, owner "
                          f"{found.st_uid}, group {found.st_gid}); --user names another user")
        self.groups.add(found.st_gid)

    def popen_arguments(self):
        if os.geteuid() != 0:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": sorted(self.groups)}


def become_broker():
    """In the forked child, after the user has changed: ends with its parent, gains nothing by an exec."""
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


class Broker:
    """`guests` are the names of guests, each with a socket; `quotas` gives some of them a quota."""

    def __init__(self, bin_folder, folder, user, flags, guests, quotas, log_path):
        self.folder, self.user, self.log_path = folder, user, log_path
        os.mkdir(folder)
        os.chmod(folder, 0o755)
        # A copy: the user may not be able to read the folder of the kit.
        self.binary = shutil.copy(os.path.join(bin_folder, "gpu-broker"), folder)
        os.chmod(self.binary, 0o755)
        self.ctl = os.path.join(bin_folder, "gpu-brokerctl")
        sockets = os.path.join(folder, "s")
        os.mkdir(sockets)
        os.chmod(sockets, 0o755)
        if os.geteuid() == 0:
            os.chown(sockets, user.uid, user.gid)
        self.control = os.path.join(sockets, "broker")
        self.sockets = {name: os.path.join(sockets, name) for name in guests}
        self.command = [self.binary, *flags, f"--socket={self.control}"]
        self.command += [f"--guest-socket={name}={path}" for name, path in self.sockets.items()]
        self.command += [f"--guest-mem-quota={name}={quota}" for name, quota in quotas.items()]
        self.process = None

    def start(self):
        """Starts it and waits until guests can connect; nothing when it runs."""
        if self.process is not None and self.process.poll() is None:
            return
        ready, ready_writer = os.pipe()
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [*self.command, f"--ready-fd={ready_writer}"], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                pass_fds=[ready_writer], cwd="/", start_new_session=True, preexec_fn=become_broker,
                **self.user.popen_arguments())
        os.close(ready_writer)
        try:
            self._await_ready(ready)
            self._check_privilege()
        except Failure:
            self.stop()
            raise
        finally:
            os.close(ready)

    def _await_ready(self, ready):
        deadline = time.monotonic() + READY_TIMEOUT_S
        said = b""
        while b"\n" not in said:
            readable, _, _ = select.select([ready], [], [], max(0.0, deadline - time.monotonic()))
            if not readable:
                raise Failure(f"gpu-broker was not ready within {READY_TIMEOUT_S:.0f} s\n{self.log_tail()}")
            chunk = os.read(ready, 64)
            if not chunk:
                raise Failure(f"gpu-broker ended with status {self.process.wait(STOP_TIMEOUT_S)} before it was ready\n"
                              f"{self.log_tail()}")
            said += chunk

    def _check_privilege(self):
        """The broker is whom it should be, and may do nothing that this user may not: else guests could as well."""
        with open(f"/proc/{self.process.pid}/status", encoding="ascii", errors="replace") as file:
            status = dict(line.split(":", 1) for line in file)
        uids, capabilities = set(status["Uid"].split()), int(status["CapEff"], 16)
        if uids != {str(self.user.uid)} or (self.user.uid != 0 and capabilities != 0):
            raise Failure(f"gpu-broker runs with the user ids {sorted(uids)} and the capabilities {capabilities:x}, "
                          f"{self.user.name} has {self.user.uid} and none")

    def log_tail(self, lines=20):
        with open(self.log_path, encoding="utf-8", errors="replace") as file:
            return "".join(file.readlines()[-lines:]).rstrip()

    def ended(self):
        """Its exit status, when it ended by itself."""
        return None if self.process is None else self.process.poll()

    def stats(self):
        result = subprocess.run([self.ctl, "stats", "--socket", self.control], stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, check=False, timeout=STATS_TIMEOUT_S)
        if result.returncode != 0:
            raise Failure(f"gpu-brokerctl stats ends with status {result.returncode}: "
                          f"{result.stderr.decode(errors='replace').strip()}")
        return json.loads(result.stdout)

    def guests(self):
        """What the statistics say of each guest, by name."""
        return {guest["name"]: guest for worker in self.stats()["workers"] for guest in worker["guests"]}

    def await_release(self, names):
        """Waits until the guests `names` hold nothing; returns their statistics, and a text when something stays."""
        deadline = time.monotonic() + RELEASE_TIMEOUT_S
        while True:
            guests = {name: guest for name, guest in self.guests().items() if name in names}
            held = {name: {what: guest[what] for what in HELD if guest[what]} for name, guest in guests.items()}
            held = {name: what for name, what in held.items() if what}
            if not held or time.monotonic() > deadline:
                return guests, f"the broker still holds {json.dumps(held)}" if held else None
            select.select([], [], [], 0.01)  # hang-ups arrive by themselves; this only paces the questions

    def stop(self):
        """Ends it; returns a text when it did not end as it should."""
        if self.process is None:
            return None
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                return "gpu-broker had to be killed: it did not end on SIGTERM"
            return None
        return f"gpu-broker ended with status {self.process.returncode}\n{self.log_tail()}"
