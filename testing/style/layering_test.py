#!/usr/bin/python3
"""Law: who may include whom. Bazel's visibility says the same about targets; this says it about #include lines, and
about the system's headers, which Bazel does not see.

    proto/abi <- proto/wire <- { broker/core <- broker/io , preload }

The shim and the broker share layouts and the readers and writers of rings and messages, and no code that judges what
it reads, because neither may believe the other. The core includes nothing
that could make a system call or read a clock, which is why a recorded list of events replays bit for bit.
"""

import os
import re
import sys

sys.dont_write_bytecode = True  # the checkout is looked at, not written to
sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))
import sources  # noqa: E402

# The first entry whose folder holds the file applies. A file may include what lies in its own folder, and what starts
# with one of the listed prefixes.
LAYERS = [
    ("proto/abi", ["proto/abi"]),
    ("proto/wire", ["proto/abi/"]),
    ("preload", ["proto/abi/", "proto/wire/"]),
    ("broker/core", ["broker/driver/call.h", "broker/driver/driver.h", "proto/abi/", "proto/wire/"]),
    ("broker/driver", ["broker/driver/call.h", "broker/driver/driver.h", "proto/abi/"]),
    ("broker/io", ["broker/core/", "broker/driver/call.h", "broker/driver/driver.h", "proto/"]),
    ("broker/sandbox", ["proto/abi/"]),
    ("broker", ["broker/", "proto/"]),
    ("testing", ["testing/", "broker/", "preload/", "proto/"]),
]

# A test holds the hand-written encoding of the shim against the messages of proto/, and the simulated driver against
# the tables.
TEST_EXTRAS = ["proto/", "testing/"]

PROJECT_FOLDERS = ("proto/", "broker/", "preload/", "testing/")

CORE_FORBIDDEN = re.compile(
    r"^(sys/|linux/|asm/|arpa/|net|unistd\.h|fcntl\.h|poll\.h|signal\.h|csignal|pthread\.h|sched\.h|time\.h|ctime|"
    r"chrono|random|thread|mutex|shared_mutex|condition_variable|future|semaphore|atomic|iostream|fstream|cstdio|"
    r"stdio\.h|cstdlib|stdlib\.h|filesystem|spdlog/|fmt/|liburing|absl/synchronization|absl/time)")

# What brings global constructors, locale tables, locks or a heap of its own into foreign processes.
PRELOAD_FORBIDDEN = re.compile(
    r"^(iostream|ostream|istream|sstream|fstream|iomanip|locale|regex|thread|mutex|condition_variable|future|"
    r"absl/|google/|spdlog/|fmt/|proto/.*\.pb\.h)")

INCLUDE = re.compile(r'^\s*#\s*include\s+(?:"([^"]+)"|<([^>]+)>)', re.MULTILINE)


def is_test(path):
    return re.search(r"_(test|testlib|bench|fuzz)\.(cc|h)$", path) is not None


def layer_of(path):
    for folder, allowed in LAYERS:
        if path.startswith(folder + "/"):
            return folder, allowed
    return None, []


def complaint(path, header):
    """Why `path` may not include `header`; None when it may."""
    folder, allowed = layer_of(path)
    if folder is None:
        return "lies in no layer: add its folder to layering_test.py"
    prefixes = allowed + (TEST_EXTRAS if is_test(path) else [])
    if header.startswith(PROJECT_FOLDERS):
        if not header.startswith((folder + "/", *prefixes)):
            return f"{folder} may not include it"
    if folder == "broker/core" and not is_test(path) and CORE_FORBIDDEN.match(header):
        return "the core is pure: no system calls, clocks, threads or logs"
    if folder == "preload" and not is_test(path) and PRELOAD_FORBIDDEN.match(header):
        return "too heavy for a library that lives in foreign processes"
    return None


def check(path, text):
    findings = []
    for match in INCLUDE.finditer(text):
        reason = complaint(path, match[1] or match[2])
        if reason:
            line = text.count("\n", 0, match.start(1) if match[1] else match.start(2)) + 1
            findings.append(f"{path}:{line}: {match[1] or match[2]}: {reason}")
    if path.startswith("broker/core/") and not is_test(path):
        for match in re.finditer(r"\berrno\b", sources.without_comments(text)):
            findings.append(f"{path}:{text.count(chr(10), 0, match.start()) + 1}: the core reads no errno")
    return findings


def check_itself():
    """The rules bite: a law nobody can break proves nothing."""
    must_fail = [
        ("preload/lane.cc", "broker/core/ids.h"), ("broker/io/loop.cc", "preload/lane.h"),
        ("broker/core/core.cc", "unistd.h"), ("broker/core/core.cc", "broker/io/loop.h"),
        ("proto/wire/ring.h", "broker/core/ids.h"), ("preload/codec.cc", "proto/frame.pb.h"),
        ("broker/core/core.cc", "testing/model/model.h"), ("broker/driver/sim/a.cc", "broker/core/ids.h"),
    ]
    must_pass = [
        ("preload/codec_test.cc", "proto/frame.pb.h"), ("broker/io/loop.cc", "broker/core/event.h"),
        ("broker/core/core.cc", "cstdint"), ("broker/worker/worker.cc", "broker/driver/sim/sim.h"),
    ]
    for path, header in must_fail:
        assert complaint(path, header), f"{path} may include {header}"
    for path, header in must_pass:
        assert not complaint(path, header), f"{path} may not include {header}"


def main():
    check_itself()
    paths = [path for path in sources.files(".cc", ".h", ".c") if path.startswith(PROJECT_FOLDERS)]
    findings = []
    for path in paths:
        findings += check(path, sources.read(path))
    sources.report("layering", findings, len(paths))


if __name__ == "__main__":
    main()
