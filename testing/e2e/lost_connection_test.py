#!/usr/bin/python3
"""Law: a program whose connection is dropped before it is answered, as by a supervisor that dies, asks again; dropped
every time it sees no GPU, and says why. Runs under testing/with-broker."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading

sys.dont_write_bytecode = True  # the checkout is looked at, not written to
sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))
import guests  # noqa: E402

CALLER = os.path.abspath("testing/e2e/victims/caller")


def listen(path):
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(path)
    listener.listen()
    listener.settimeout(guests.PATIENCE_S)
    return listener


def drop_first(listener, path):
    """Takes one connection at `path`, leads later ones to the broker, and drops it."""
    with listener:
        connection, _ = listener.accept()
        os.symlink(guests.SOCKET, path + ".next")
        os.rename(path + ".next", path)
        connection.close()


def command(path):
    return ["env", f"LD_PRELOAD={guests.PRELOAD}", f"NVSHIM_SOCKET={path}", "NVSHIM_LOG=1", CALLER]


def drop_all(path):
    with listen(path) as listener:
        program = subprocess.Popen(command(path), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        while program.poll() is None:
            listener.settimeout(0.01)
            try:
                listener.accept()[0].close()
            except socket.timeout:
                pass
        said = program.stderr.read()
    if program.returncode == 0 or "without a word" not in said:
        guests.fail(f"a program that is always dropped ends with {program.returncode}: {said}")


def main():
    folder = tempfile.mkdtemp(prefix="nvshim-lost-", dir="/tmp")  # the path of a Unix socket has 107 bytes
    try:
        path = os.path.join(folder, "socket")
        dropper = threading.Thread(target=drop_first, args=[listen(path), path], daemon=True)
        dropper.start()
        guest = guests.Guest(*command(path))
        guest.expect("calling")
        guest.finish()
        dropper.join(guests.PATIENCE_S)
        drop_all(os.path.join(folder, "other"))
        print("dropped once: served; dropped always: no GPU")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
