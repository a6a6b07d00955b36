"""What the scenarios share: programs of several guests at once. A scenario is itself no guest; it runs natively as well,
where every guest is just another process."""

import os
import subprocess
import sys

EXIT_NOT_APPLICABLE = 77
TIMEOUT_S = 100.0  # ends a hang; the scenario's own time-out is larger

KIT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PRELOAD = os.environ.get("NVSHIM_KIT_PRELOAD")
SOCKETS = os.environ.get("NVSHIM_KIT_SOCKETS", "").split()
KERNELS_RUN = os.environ.get("NVSHIM_KIT_KERNELS") != "skipped"


def fail(message):
    print(f"FAILED: {message}", file=sys.stderr)
    sys.exit(1)


def not_applicable(reason):
    print(f"not applicable: {reason}")
    sys.exit(EXIT_NOT_APPLICABLE)


def start(guest, *command):
    """A process of guest number `guest`, from 0 on; natively just a process. A program with a slash is the kit's."""
    environment = dict(os.environ)
    if SOCKETS:
        environment.update(LD_PRELOAD=PRELOAD, NVSHIM_SOCKET=SOCKETS[guest])
    path = os.path.join(KIT, command[0]) if "/" in command[0] else command[0]
    return subprocess.Popen([path, *command[1:]], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, errors="replace")


def finish(process, what):
    """Closes its standard input; returns what it printed, or fails when it ended badly."""
    try:
        output, errors = process.communicate(timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        fail(f"{what} does not end: {process.communicate()}")
    sys.stderr.write(errors)
    if process.returncode != 0:
        fail(f"{what} ends with status {process.returncode}: {output}{errors}")
    return output


def run(guest, *command):
    return finish(start(guest, *command), " ".join(command))


def read_line(process, prefix, what):
    """The words of the first line that begins with `prefix`, without it."""
    for line in process.stdout:
        if line.startswith(prefix):
            return line[len(prefix):].split()
    return fail(f"{what} ends with status {process.wait(TIMEOUT_S)}: {process.stderr.read()}")
