"""Supervisors that a test starts, ends and kills itself, and their workers. To be used with guests.py, which then asks the
supervisor that was started last."""

import os
import subprocess
import sys
import time

import guests

started = []  # so that none is left behind


class Supervisor:
    """A gpu-broker with a simulated GPU, in a folder where its sockets are, and one more socket for each of `names`. It and
    its workers log into a file beside the folder. `config` is a configuration file; None: it reads none."""

    def __init__(self, folder, names, *flags, config=None):
        self.folder = folder
        self.names = names
        self.flags = flags
        self.config = "--no-config" if config is None else f"--config={config}"
        self.log_path = folder + ".log"
        with open(self.log_path, "wb"):
            pass  # empty
        guests.SOCKET = os.path.join(folder, "socket")
        self.process = None
        self.start()

    def socket_of(self, name):
        return os.path.join(self.folder, name)

    def start(self):
        ready, writer = os.pipe()
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [guests.BROKER, self.config, "--driver=sim", "--sim-gpu=h100", f"--socket={guests.SOCKET}",
                 f"--ready-fd={writer}", *(f"--guest-socket={name}={self.socket_of(name)}" for name in self.names), *self.flags],
                stdin=subprocess.DEVNULL, stderr=log, pass_fds=[writer])
        started.append(self)
        os.close(writer)
        with open(ready, "rb") as reader:
            if reader.read() != b"ready\n":
                guests.fail(f"a supervisor ends with status {self.process.wait(guests.PATIENCE_S)} instead of starting")

    def log(self):
        with open(self.log_path, encoding="utf-8") as file:
            return file.read()

    def await_log(self, text):
        deadline = time.monotonic() + guests.PATIENCE_S
        while text not in self.log():
            if time.monotonic() > deadline:
                guests.fail(f"the supervisor does not say '{text}'")
            time.sleep(0.01)

    def end(self, number):
        self.process.send_signal(number)
        return self.process.wait(guests.PATIENCE_S)

    def command(self, name, program):
        return ["env", f"LD_PRELOAD={guests.PRELOAD}", f"NVSHIM_SOCKET={self.socket_of(name)}", program]

    def guest(self, name, program, says):
        guest = guests.Guest(*self.command(name, program))
        guest.expect(says)
        return guest


def clean_up():
    """Ends whatever still runs, and shows what the supervisors said."""
    for supervisor in started:
        supervisor.process.kill()
    for path in sorted({supervisor.log_path for supervisor in started}):
        with open(path, encoding="utf-8") as file:
            print(file.read(), file=sys.stderr)
        os.unlink(path)


def workers():
    return {worker["pid"] for worker in guests.stats()["workers"]}


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"  # a dead one that nobody has reaped is dead
    except (FileNotFoundError, ProcessLookupError):
        return False


def await_gone(pids, what):
    deadline = time.monotonic() + guests.PATIENCE_S
    while any(is_alive(pid) for pid in pids):
        if time.monotonic() > deadline:
            guests.fail(f"{what}: {[pid for pid in pids if is_alive(pid)]}")
        time.sleep(0.01)
