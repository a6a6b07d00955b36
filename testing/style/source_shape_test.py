#!/usr/bin/python3
"""Law: sources keep the shape that CONTRIBUTING.md asks for: files and lines of bounded length, a comment at the top
that says what the file is, include guards named after the path, no notes to self.
"""

import os
import re
import sys

sys.dont_write_bytecode = True  # the checkout is looked at, not written to
sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))
import sources  # noqa: E402

LINE_LENGTH_MAX = 110

# A codebase of this kind grows one giant file, the state machine. Tables are exempt: they are read by looking up.
FILE_LINES_MAX = 500
TABLES = re.compile(r"(class_lists|tables?|_data)\.(cc|h)$")

NOTE = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")


def guard_of(path):
    return re.sub(r"[/.]", "_", path).upper() + "_"


def check(path, text):
    lines = text.split("\n")
    if len(lines) > FILE_LINES_MAX and not TABLES.search(path):
        yield f"{path}: {len(lines)} lines, {FILE_LINES_MAX} at most"
    for number, line in enumerate(lines, 1):
        if len(line) > LINE_LENGTH_MAX:
            yield f"{path}:{number}: {len(line)} columns, {LINE_LENGTH_MAX} at most"
        if NOTE.search(line):
            yield f"{path}:{number}: a note to self: say it in an issue, or as a limit of what the code does"
        if line != line.rstrip():
            yield f"{path}:{number}: blanks at the end"
    # The source of a header pair is introduced by its header, a test by the code it tests.
    introduced = path.endswith(".cc") and (
        path.endswith("_test.cc") or os.path.exists(os.path.join(sources.root(), path[:-len("cc")] + "h")))
    if not introduced and not text.startswith("//"):
        yield f"{path}: does not begin with a comment that says what it is"
    if path.endswith(".h"):
        guard = guard_of(path)
        if f"#ifndef {guard}\n#define {guard}\n" not in text or f"#endif  // {guard}\n" not in text:
            yield f"{path}: its include guard is not {guard}"


def main():
    paths = [path for path in sources.files(".cc", ".h", ".c") if "/" in path]
    findings = []
    for path in paths:
        findings += check(path, sources.read(path))
    sources.report("source_shape", findings, len(paths))


if __name__ == "__main__":
    main()
