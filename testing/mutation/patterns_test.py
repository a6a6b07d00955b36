#!/usr/bin/python3
"""Law: every mutation of mutations.py still has its text in the sources, exactly once, and tests to notice it."""

import os
import sys

sys.dont_write_bytecode = True  # the checkout is looked at, not written to
HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, HERE)
import mutations  # noqa: E402

MUTATIONS_MIN = 40


def main():
    root = os.path.dirname(os.path.dirname(HERE))
    findings = []
    for path, text, instead, _ in mutations.MUTATIONS:
        with open(os.path.join(root, path), encoding="utf-8") as file:
            count = file.read().count(text)
        if count != 1:
            findings.append(f"{path}: stands there {count} times: {text.strip()}")
        if text == instead or path not in mutations.TESTS:
            findings.append(f"{path}: changes nothing, or has no tests: {text.strip()}")
    if len(mutations.MUTATIONS) < MUTATIONS_MIN:
        findings.append(f"{len(mutations.MUTATIONS)} mutations, {MUTATIONS_MIN} at least")
    print("\n".join(findings) or f"{len(mutations.MUTATIONS)} mutations, each with its text exactly once")
    sys.exit(1 if findings else 0)


if __name__ == "__main__":
    main()
