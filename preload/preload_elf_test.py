#!/usr/bin/python3
"""Laws of the file libnvshim.so: what it shows, what it needs, and that programs which use no GPU do not notice it.

It is injected into programs with other C++ libraries and older C libraries than it was built with, so it may need
nothing but libc, of a version that old images have, and may show nothing but the symbols it stands in front of.
"""

import os
import re
import subprocess
import sys

# Newest version of a glibc symbol that may be needed: RHEL 7's. Images older than that have no supported CUDA.
GLIBC_FLOOR = (2, 17)

HERE = os.path.dirname(os.path.abspath(__file__))
LIBRARY = os.path.join(HERE, "libnvshim.so")

failures = []


def law(holds, sentence):
    if not holds:
        failures.append(sentence)


def run(*command, **options):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, **options)


def readelf(*flags):
    return run("readelf", "-W", *flags, LIBRARY).stdout


def names_of(path, pattern):
    with open(os.path.join(HERE, path), encoding="utf-8") as file:
        return set(re.findall(pattern, file.read(), re.MULTILINE))


def symbols(*flags):
    lines = run("nm", "-D", *flags, LIBRARY).stdout.splitlines()
    return [line.split()[-1] for line in lines if line.split()]


def check_exports():
    shown = {name.split("@")[0] for name in symbols("--defined-only", "--extern-only")}
    mapped = names_of("exports.map", r"^\s+(\w+);$")
    law(shown == mapped, f"exports differ from exports.map: {sorted(shown ^ mapped)}")
    listed = names_of("real.h", r"^  X\((\w+),")
    law(mapped == listed, f"exports.map differs from the table of real functions: {sorted(mapped ^ listed)}")


def check_needs():
    needed = set(re.findall(r"\(NEEDED\).*\[(.*)\]", readelf("-d")))
    law(needed <= {"libc.so.6", "ld-linux-x86-64.so.2"} and "libc.so.6" in needed, f"NEEDED is {sorted(needed)}")
    undefined = symbols("--undefined-only")
    versions = {tuple(map(int, found.split("."))) for name in undefined for found in re.findall(r"@GLIBC_([\d.]+)", name)}
    too_new = [name for name in undefined
               if any(tuple(map(int, found.split("."))) > GLIBC_FLOOR for found in re.findall(r"@GLIBC_([\d.]+)", name))]
    law(versions and not too_new, f"symbols newer than the floor: {too_new}")
    law(not any(name.startswith("__tls_get_addr") for name in undefined), "thread-locals are not initial-exec")
    heap = [name for name in undefined if re.match(r"(malloc|calloc|realloc|free|abort|exit|_Z|__cxa_throw)", name)]
    law(not heap, f"the library allocates, ends the program or needs C++ at run time: {heap}")


def check_loading():
    dynamic = readelf("-d")
    law("NODELETE" in dynamic, "the library can be unloaded while its hooks are in use")
    law("RELR" not in dynamic, "old loaders do not know RELR relocations")
    law("TEXTREL" not in dynamic, "the library changes its own code")
    law(re.search(r"GNU_STACK\s.*RW\s", readelf("-l")) is not None, "the stack becomes executable")


def with_shim(*command):
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("LD_", "NVSHIM_"))}
    plain = run(*command, env=environment)
    shimmed = run(*command, env={**environment, "LD_PRELOAD": LIBRARY})
    law(plain.returncode == shimmed.returncode and plain.stdout == shimmed.stdout,
        f"{command[0]} behaves differently: {plain.returncode} {plain.stdout!r}, with the library"
        f" {shimmed.returncode} {shimmed.stdout!r}")
    return shimmed


def check_other_programs():
    with_shim("/bin/ls", "-la", "/usr/include")
    with_shim("/bin/sh", "-c", "echo a | tr a b; test -c /dev/null && stat -c %t:%T /dev/null; exit 3")
    with_shim("/usr/bin/python3", "-c",
              "import os, subprocess, stat\n"
              "print(open('/etc/passwd').read()[:20], os.stat('/dev/null').st_rdev, os.access('/dev/null', os.R_OK))\n"
              "print(subprocess.run(['/bin/echo', 'child'], stdout=subprocess.PIPE).stdout)\n"
              "try: open('/nonexistent')\n"
              "except OSError as error: print(error.errno)\n")
    # A program with a protobuf and a C++ library of its own.
    law(with_shim("/usr/bin/protoc", "--version").stdout.startswith("libprotoc"), "protoc does not run")


# Tries what a privileged program does to device nodes; says which calls did not fail as they must.
NODE_CHANGES = """
import errno, os
node, link = '/dev/nvidia-shim-test', '/dev/char/195:9'
calls = {
    'open': (lambda: os.open(node, os.O_RDWR | os.O_CREAT), errno.ENOENT),
    'stat': (lambda: os.stat('/dev/nvidiactl'), errno.ENOENT),
    'lstat': (lambda: os.lstat('/dev/nvidia0'), errno.ENOENT),
    'fopen': (lambda: open('/proc/driver/nvidia/params'), errno.ENOENT),
    'mknod': (lambda: os.mknod(node), errno.EPERM),
    'mknod0': (lambda: os.mknod('/dev/nvidia0'), errno.EPERM),
    'chmod': (lambda: os.chmod(node, 0o666), errno.EPERM),
    'chown': (lambda: os.chown(node, 0, 0), errno.EPERM),
    'lchown': (lambda: os.lchown(node, 0, 0), errno.EPERM),
    'symlink': (lambda: os.symlink('../nvidia-shim-test', link), errno.EPERM),
    'symlink2': (lambda: os.symlink('../nvidia-uvm', '/dev/char/510:0'), errno.EPERM),
    'unlink': (lambda: os.unlink(link), errno.EPERM),
}
for name, (call, expected) in calls.items():
    try:
        call()
        print(name, 'succeeds')
    except OSError as error:
        if error.errno != expected: print(name, error)
if os.access('/dev/nvidiactl', os.F_OK): print('access succeeds')
"""


def check_without_broker():
    """Nodes neither exist nor can be made, whoever asks: no node of the real machine is opened, made or changed."""
    environment = {**os.environ, "LD_PRELOAD": LIBRARY, "NVSHIM_SOCKET": "/nonexistent/gpu-broker.sock"}
    said = run("/usr/bin/python3", "-c", NODE_CHANGES, env=environment).stdout
    law(said == "", f"without a broker: {said!r}")


def main():
    check_exports()
    check_needs()
    check_loading()
    check_other_programs()
    check_without_broker()
    for sentence in failures:
        print(f"LAW BROKEN: {sentence}", file=sys.stderr)
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
