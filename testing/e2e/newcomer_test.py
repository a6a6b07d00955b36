#!/usr/bin/python3
"""Law: what goes wrong for somebody new is told in a message that names cause and remedy, and that docs/troubleshooting.md
has. Each is provoked here: no broker, no permission, libraries of another version, a quota and a limit that are reached, a
call that is denied or unknown, a worker that dies, no driver, a GPU that is gone, io_uring forbidden or absent, memory
that may not be locked, a setting that does not exist. Runs under testing/with-broker as root; the supervisors are its own."""

import ctypes
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
import takers  # noqa: E402

NOBODY = 65534
SYS_IO_URING_SETUP = 425
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, SECCOMP_RET_ERRNO, SECCOMP_RET_ALLOW = 38, 22, 2, 0x50000, 0x7FFF0000
EPERM, ENOSYS = 1, 38

with open("docs/troubleshooting.md", encoding="utf-8") as file:
    PAGE = file.read()


def expect(what, said, *messages):
    for message in messages:
        if message not in said:
            guests.fail(f"{what}: '{message}' is not said, but: {said}")
        if message not in PAGE:
            guests.fail(f"docs/troubleshooting.md does not have '{message}'")


def open_ctl(socket, *launcher, program=(sys.executable, "-c", "import os; os.open('/dev/nvidiactl', os.O_RDWR)")):
    """What a program that opens a device file at `socket` says."""
    preload = guests.guest_files(NOBODY)[1]
    result = subprocess.run([*launcher, "env", f"LD_PRELOAD={preload}", f"NVSHIM_SOCKET={socket}", "NVSHIM_LOG=1", *program],
                            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False,
                            timeout=guests.PATIENCE_S)
    return result.stderr


def no_broker(folder):
    expect("no socket", open_ctl(folder + "/none"), "there is no such socket; start gpu-broker")
    with open(folder + "/stale", "wb"):
        pass
    expect("a stale socket", open_ctl(folder + "/stale"), "nobody listens on it; start gpu-broker")


def no_permission(supervisor):
    os.chmod(guests.SOCKET, 0o600)
    os.chmod(supervisor.folder, 0o755)
    said = open_ctl(guests.SOCKET, "setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
    expect("no permission", said, "this user may not connect to it; who is in its group may")


def other_version(supervisor):
    ask = ("import fcntl, os, struct; ctl = os.open('/dev/nvidiactl', os.O_RDWR); "
           "fcntl.ioctl(ctl, 0xc04846d2, bytearray(struct.pack('=II64s', 0, 0, b'1.2.3')))")
    expect("libraries of another version", open_ctl(supervisor.socket_of("a"), program=(sys.executable, "-c", ask)),
           "NVIDIA's library here is of another version than the broker's driver")
    supervisor.await_log("reason=other_version")


def what_is_refused(supervisor):
    taker = takers.Taker(supervisor.socket_of("b"))
    taker.take("files 1")
    taker.take("video 2097152", takers.NO_MEMORY)
    taker.take("clients 21", takers.INSUFFICIENT_RESOURCES)
    taker.ask("channel")
    for reason in ("over_quota", "over_limit", "denied_by_policy"):
        supervisor.await_log(f"reason={reason}")
        expect(reason, supervisor.log(), "audit: refused", f"reason={reason}")
    expect("a quota", supervisor.log(), "--mem-quota")


def worker_dies(supervisor):
    before = supervisors.workers()
    victim = subprocess.Popen(["env", "NVSHIM_LOG=1", *supervisor.command("c", os.path.abspath("testing/e2e/victims/caller"))],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if victim.stdout.readline() != "calling\n":
        guests.fail("a guest does not call")
    os.kill((supervisors.workers() - before).pop(), signal.SIGKILL)
    expect("a worker that dies", victim.communicate(timeout=guests.PATIENCE_S)[1],
           "the GPU is gone: the broker, or this guest's worker, has ended, and its log says why; start the program again")


def deny_io_uring(error):
    """In a child: io_uring_setup gives `error`, as where an administrator or a container forbids it."""
    class Instruction(ctypes.Structure):
        _fields_ = [("code", ctypes.c_uint16), ("jt", ctypes.c_uint8), ("jf", ctypes.c_uint8), ("k", ctypes.c_uint32)]

    class Program(ctypes.Structure):
        _fields_ = [("length", ctypes.c_uint16), ("filter", ctypes.POINTER(Instruction))]

    code = (Instruction * 4)(Instruction(0x20, 0, 0, 0), Instruction(0x15, 0, 1, SYS_IO_URING_SETUP),
                             Instruction(0x06, 0, 0, SECCOMP_RET_ERRNO | error), Instruction(0x06, 0, 0, SECCOMP_RET_ALLOW))
    libc = ctypes.CDLL(None)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER,
                                                                 ctypes.byref(Program(4, code)), 0, 0):
        os._exit(1)


def start(folder, *flags, config="--no-config", broker=guests.BROKER, launcher=(), **options):
    """What a broker says that does not start."""
    result = subprocess.run([*launcher, broker, config, f"--socket={folder}/socket", *flags], stdin=subprocess.DEVNULL,
                            stderr=subprocess.PIPE, text=True, check=False, timeout=guests.PATIENCE_S, **options)
    if result.returncode != 1:
        guests.fail(f"{flags}: the broker ends with status {result.returncode}: {result.stderr}")
    return result.stderr


def broker_does_not_start(folder):
    expect("no driver", start(folder, "--driver=kernel"),
           "cannot open /dev/nvidiactl: No such file or directory. Is the NVIDIA driver loaded (lsmod), and are its device "
           "files there (nvidia-modprobe -c 0 -u)?")
    expect("a GPU that is gone", start(folder, "--driver=kernel", broker=os.path.abspath("testing/fake_kernel/gpu-broker"),
                                       env={**os.environ, "NVSHIM_FAKE_LOST": "/dev/nvidia0"}),
           "cannot open /dev/nvidia0: Input/output error. The machine's log (dmesg) has the driver's reason")
    expect("io_uring forbidden", start(folder, preexec_fn=lambda: deny_io_uring(EPERM)),
           "io_uring is forbidden here: kernel.io_uring_disabled is")
    expect("no io_uring", start(folder, preexec_fn=lambda: deny_io_uring(ENOSYS)),
           "this kernel has no io_uring: Linux 5.13 or later is needed")
    with open(folder + "/config.toml", "w", encoding="utf-8") as config:
        config.write('mem-qouta = "1GiB"\n')
    expect("a setting that does not exist", start(folder, config=f"--config={folder}/config.toml"), "there is no setting")
    expect("an unknown branch", start(folder, "--sim-driver-version=1.2"), "is of no branch that has tables")
    broker = shutil.copy(guests.BROKER, guests.guest_files(NOBODY)[1] + ".broker")
    os.chmod(folder, 0o777)
    said = start(folder, broker=broker, launcher=("prlimit", "--memlock=0:0", "setpriv", f"--reuid={NOBODY}",
                                                  f"--regid={NOBODY}", "--clear-groups"))
    expect("memory that may not be locked", said, "no memory for an io_uring: this user may lock")


def main():
    if os.geteuid() != 0:
        print("SKIPPED: a user who may not connect has to be another one, and only root can be that")
        return
    guests.guest_files(NOBODY)  # beside the private broker's socket
    folder = tempfile.mkdtemp(prefix="nvshim-newcomer-", dir="/tmp")
    try:
        no_broker(folder)
        broker_does_not_start(folder)
        with open(folder + ".textproto", "w", encoding="utf-8") as policy:
            policy.write('rule { class: 0xc56f verdict: DENY reason: "a test" }\n')
        supervisor = supervisors.Supervisor(folder, ["a", "b", "c"], "--mem-quota=1MiB", "--limit=clients=20",
                                            f"--policy={folder}.textproto")
        other_version(supervisor)
        what_is_refused(supervisor)
        worker_dies(supervisor)
        no_permission(supervisor)
    finally:
        supervisors.clean_up()
        shutil.rmtree(folder, ignore_errors=True)
        os.unlink(folder + ".textproto")
    print("each is told what is wrong and what helps")


if __name__ == "__main__":
    main()
