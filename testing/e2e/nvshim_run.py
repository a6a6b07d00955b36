#!/usr/bin/python3
"""Laws of nvshim-run: its status is the program's, or 125 to 127 as of env(1). The program finds the shim first in
LD_PRELOAD, the socket in NVSHIM_SOCKET, and itself under one filter and no_new_privs. It is a guest as any other, by name
too. Under the filter a device file that it was given takes none of NVIDIA's ioctls, and others as before.

usage: nvshim_run.py NVSHIM_RUN SOCKET, a --guest-socket of the broker with the name of its guest and .sock. Runs under
testing/with-broker."""

import os
import subprocess
import sys

sys.dont_write_bytecode = True  # the checkout is looked at, not written to
sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))
import guests  # noqa: E402

RUN = os.path.abspath(sys.argv[1])
RM_CONTROL, UVM_INITIALIZE, UVM_REGISTER_GPU, TCGETS = 0xC020462A, 0x30000001, 37, 0x5401
HIGH_BITS = 0xDEADBEEF00000000


def start(*arguments, library=guests.PRELOAD, variables=None, **options):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NVSHIM_")}
    environment.update(variables or {})
    libraries = [f"--library={library}"] if library else []
    return subprocess.run([RUN, *libraries, *arguments], env=environment, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False,
                          timeout=guests.PATIENCE_S, **options)


def expect(what, value, right):
    if value != right:
        guests.fail(f"{what}: {value!r}, {right!r} is right")


def expect_status(right, *arguments, **options):
    result = start(*arguments, **options)
    expect(f"the status of {arguments}", result.returncode, right)
    return result


def check_statuses():
    expect_status(0, "true")
    expect_status(0, "--", "true")
    expect_status(7, "sh", "-c", "exit 7")
    expect("the words of the command", expect_status(0, "--", "printf", "%s;", "--guest", "--", "-x").stdout,
           "--guest;--;-x;")
    expect_status(127, "--", "/nonexistent/program")
    expect_status(127, "no-program-of-this-name")
    expect_status(126, "/etc/passwd")
    expect_status(126, "/")
    for arguments in ([], ["--"], ["--nonsense", "true"], ["--guest"], ["--guest=a/b", "true"]):
        expect_status(125, *arguments)
    expect_status(125, "true", library="/nonexistent/libnvshim.so")
    if "--guest" not in expect_status(0, "--help", library=None).stdout:
        guests.fail("--help does not list --guest")


def check_environment():
    def of(*arguments, **variables):
        lines = expect_status(0, *arguments, "--", "env", "-0", variables=variables).stdout.split("\0")
        return dict(line.split("=", 1) for line in lines if line)

    plain = of()
    expect("LD_PRELOAD", plain["LD_PRELOAD"], os.path.realpath(guests.PRELOAD))
    expect("NVSHIM_SOCKET", plain.get("NVSHIM_SOCKET"), None)
    expect("NVSHIM_FILTERS", plain["NVSHIM_FILTERS"], "1")
    expect("NVSHIM_FILTERS of two", of(RUN, f"--library={guests.PRELOAD}")["NVSHIM_FILTERS"], "2")
    # The other library is this process's libc, which is there.
    expect("LD_PRELOAD before another", of(LD_PRELOAD="libc.so.6")["LD_PRELOAD"],
           os.path.realpath(guests.PRELOAD) + ":libc.so.6")
    expect("a socket that is set", of(NVSHIM_SOCKET="/a/b.sock")["NVSHIM_SOCKET"], "/a/b.sock")
    expect("--socket", of("--socket=/c/d.sock", NVSHIM_SOCKET="/a/b.sock")["NVSHIM_SOCKET"], "/c/d.sock")
    expect("--guest", of("--guest=g")["NVSHIM_SOCKET"], "/run/gpu-broker/g.sock")
    expect("--guest with a socket that is set", of("--guest=g", NVSHIM_SOCKET="/a/b.sock")["NVSHIM_SOCKET"],
           "/a/g.sock")
    expect("--guest with --socket", of("--guest=g", "--socket=/c/d.sock")["NVSHIM_SOCKET"], "/c/g.sock")


def check_filters():
    def of(*arguments):
        status = expect_status(0, *arguments, "grep", "-E", "NoNewPrivs|Seccomp_filters", "/proc/self/status").stdout
        return status.split()

    with open("/proc/self/status", encoding="utf-8") as status:
        before = next((int(line.split()[1]) for line in status if line.startswith("Seccomp_filters")), None)
    if before is None:
        print("SKIPPED: this kernel does not count filters")
        return
    expect("the filter", of(), ["NoNewPrivs:", "1", "Seccomp_filters:", str(before + 1)])
    expect("two filters", of(RUN, f"--library={guests.PRELOAD}"),
           ["NoNewPrivs:", "1", "Seccomp_filters:", str(before + 2)])


def check_device():
    """/dev/zero stands for the device file that a guest is given: by itself it knows no ioctl."""
    with open("/dev/zero", "rb") as device:
        for request, under_filter in ((RM_CONTROL, "EPERM"), (UVM_INITIALIZE, "EPERM"), (UVM_REGISTER_GPU, "EPERM"),
                                      (TCGETS, "ENOTTY")):
            for number in (request, HIGH_BITS | request):
                command = [sys.executable, "-B", "testing/e2e/raw_ioctl.py", str(device.fileno()), hex(number)]
                unconfined = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True,
                                            pass_fds=[device.fileno()], timeout=guests.PATIENCE_S)
                expect(f"ioctl {number:#x}", unconfined.stdout.split(), ["ENOTTY"] * 2)
                confined = expect_status(0, "--", *command, pass_fds=[device.fileno()])
                expect(f"ioctl {number:#x} under the filter", confined.stdout.split(), [under_filter] * 2)


def check_guest(socket):
    # The broker's own socket is elsewhere: of its path only the folder counts.
    beside = os.path.join(os.path.dirname(socket), "gpu-broker.sock")
    name = os.path.basename(socket).removesuffix(".sock")
    caller = os.path.abspath("testing/e2e/victims/caller")
    guest = guests.Guest("env", f"NVSHIM_SOCKET={beside}", RUN, f"--library={guests.PRELOAD}",
                         f"--guest={name}", "--", caller)
    guest.expect("calling")
    served = [entry["name"] for worker in guests.stats()["workers"] for entry in worker["guests"]]
    expect("the guests that are served", served, [name])
    guest.finish()


def main():
    check_statuses()
    check_environment()
    check_filters()
    check_device()
    check_guest(sys.argv[2])


if __name__ == "__main__":
    main()
