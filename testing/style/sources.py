"""The project's own files, for the style tests.

The tests look at the checkout itself, which a test's runfiles link to, so that no package has to list its sources for
them; their BUILD rules are tagged `external`, so that Bazel runs them every time.
"""

import os
import re
import sys

# Stand-ins for repositories that Bazel asks for by name; not written in this project's style.
SKIPPED_DIRS = {".git", os.path.join("third_party", "compat")}


def root():
    here = os.path.dirname(os.path.realpath(__file__))
    found = os.path.dirname(os.path.dirname(here))
    if not os.path.exists(os.path.join(found, "WORKSPACE")):
        sys.exit(f"{found} is not the root of the checkout")
    return found


def files(*suffixes):
    """Paths below the root, sorted, of the files whose names end in one of `suffixes`."""
    top = root()
    found = []
    for folder, dirs, names in os.walk(top):
        relative = os.path.relpath(folder, top)
        dirs[:] = [name for name in dirs
                   if os.path.normpath(os.path.join(relative, name)) not in SKIPPED_DIRS
                   and not name.startswith("bazel-")]
        found += [os.path.normpath(os.path.join(relative, name)) for name in names if name.endswith(suffixes)]
    return sorted(found)


def read(path):
    with open(os.path.join(root(), path), encoding="utf-8") as file:
        return file.read()


def without_comments(text):
    """C++ source with comments and string literals blanked; line numbers stay."""
    def blank(match):
        return re.sub(r"[^\n]", " ", match[0])
    return re.sub(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"', blank, text, flags=re.DOTALL)


def report(test, findings, looked_at):
    """Prints and exits as a test: 1 with findings, and also when nothing was looked at."""
    for finding in findings:
        print(finding)
    if not looked_at:
        sys.exit(f"{test}: found no files to look at")
    print(f"{test}: {looked_at} files, {len(findings)} findings")
    sys.exit(1 if findings else 0)
