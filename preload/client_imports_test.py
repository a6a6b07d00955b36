#!/usr/bin/python3
"""Law: nothing that NVIDIA's libraries import could reach a device file past libnvshim.so. Their symbol tables are the
interface that is interposed; a new version that imports another way to open, map or control files is noticed here, before
it runs. Skipped where the libraries are not in the user's cache (testing/clients/get fetches them)."""

import glob
import os
import pwd
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))

# By the words in their names, so that variants with underscores and numbers are caught.
ABOUT_FILES = re.compile(
    r"^_*(io_uring|sys)?.*(open|creat|ioctl|mmap|mremap|munmap|mprotect|madvise|stat|access|mknod|chmod|chown|link|remove|"
    r"rename|realpath|nftw|ftw|scandir|dup|fcntl|close|syscall|poll|select|mkdir|mkfifo|mkstemp|rmdir|chdir|shm_)")

# About files by their words, but of other things: strings, streams of their own, libraries, sockets, logs.
UNRELATED = re.compile(r"^(_*strdup|dlopen|dlclose|dlmopen|fclose|pclose|popen|openlog|closelog|gethostname|getrlimit|"
                       r"sched_.*|pthread_.*|mutexattr.*|localtime.*|asctime)$")


def names(path, pattern):
    with open(os.path.join(HERE, path), encoding="utf-8") as file:
        return set(re.findall(pattern, file.read(), re.MULTILINE))


def imports(path):
    listing = subprocess.run(["nm", "-D", "--undefined-only", path], stdout=subprocess.PIPE, text=True, check=True).stdout
    return {line.split()[-1].split("@")[0] for line in listing.splitlines()}


def main():
    home = pwd.getpwuid(os.getuid()).pw_dir
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(home, ".cache")
    found = [path for kind in ("lib/lib*.so.1", "bin/nvidia-smi")
             for path in glob.glob(os.path.join(cache, "nvshim/clients/*", kind))]
    if not found:
        print("SKIPPED: NVIDIA's libraries are not here; testing/clients/get fetches them")
        return
    known = names("exports.map", r"^\s+(\w+);$") | names("client_imports.txt", r"^(\w+) ")
    findings = [f"{path}: imports {name}" for path in found for name in sorted(imports(path))
                if ABOUT_FILES.match(name) and not UNRELATED.match(name) and name not in known]
    for finding in findings:
        print(f"LAW BROKEN: {finding}, which is neither hooked nor listed in client_imports.txt", file=sys.stderr)
    print(f"client_imports: {len(found)} files, {len(findings)} findings")
    sys.exit(1 if findings else 0)


if __name__ == "__main__":
    main()
