#!/usr/bin/python3
"""Law: every C++ file is as clang-format makes it. Skipped where clang-format is missing or of another major version:
versions disagree about details, and the one that decides is Debian 12's.
"""

import os
import re
import subprocess
import sys

sys.dont_write_bytecode = True  # the checkout is looked at, not written to
sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))
import sources  # noqa: E402

MAJOR_VERSION = 14


def skip(reason):
    print(f"SKIPPED: {reason}")
    sys.exit(0)


def main():
    try:
        banner = subprocess.run(["clang-format", "--version"], stdout=subprocess.PIPE, text=True, check=True).stdout
    except FileNotFoundError:
        skip("clang-format is not installed (testing/setup installs it)")
    match = re.search(r"version (\d+)", banner)
    if not match or int(match[1]) != MAJOR_VERSION:
        skip(f"clang-format {MAJOR_VERSION} decides, this is '{banner.strip()}'")
    paths = sources.files(".cc", ".h", ".c")
    findings = []
    for path in paths:
        result = subprocess.run(["clang-format", "--dry-run", "--Werror", "--style=file", path], cwd=sources.root(),
                                stderr=subprocess.PIPE, text=True, check=False)
        if result.returncode != 0:
            first = result.stderr.splitlines()[0] if result.stderr else "clang-format fails"
            findings.append(f"{first}  (clang-format -i {path})")
    sources.report("format", findings, len(paths))


if __name__ == "__main__":
    main()
